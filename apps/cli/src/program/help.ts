import type { Command } from 'commander';
import type { CommandContext } from '../command-context.ts';

/** What a command does; resolves with its exit status. */
type Run = (context: CommandContext) => Promise<number>;
/** Runs a command with the context of this call. */
export type Act = (run: Run) => Promise<void>;

export const TARGET = 'target, host/target or environment/host/target';
export const BACKUP_ID = 'id of the backup, or at least 4 characters of its beginning or end';
export const BACKUP = `${BACKUP_ID}, or latest (default: latest)`;
export const JOB_ID = 'id of the job, or at least 4 characters of its beginning or end';
export const AT =
  'the newest recovery point at or before this instant, for example 2026-11-23T14:03:20-03:00; the offset is required';

/** The examples at the end of a help text. */
export const examples = (...lines: string[]): string => `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;

/** Adds the options of a command whose job may take long. */
export const withTimes = (command: Command): Command =>
  command
    .option('--start-by <duration>', 'give up if it has not started within this time, for example 2h (default: 1h)')
    .option('--deadline <duration>', 'cancel it if it runs longer than this (default: 24h)');
