import { newestInstant, restoreScopeOf, windowAt } from '@lastgood/core';
import type { BackupView, RestoreRequest, TargetView } from '@lastgood/protocol';
import { api } from './client.ts';

/** What a person has chosen: the inputs of the wizard. */
export interface RestoreChoice {
  /** The full name of the target. */
  readonly target: string;
  /** An instant with its offset; null for the newest recovery point. */
  readonly at: string | null;
  readonly way: 'new' | 'swap' | 'in-place' | 'folder';
  /** The name of the new database or of the restore folder. */
  readonly name: string;
  /** Null for a whole server. */
  readonly database: string | null;
}

export interface PreparedRestore {
  readonly request: RestoreRequest;
  /** The backup that is restored; null when the log stream brings back an exact instant. */
  readonly backup: BackupView | null;
}

/** The point that a restore of a whole server brings back when a log stream covers it; null: a backup is meant. */
function pointInTime(target: TargetView, at: string | null): RestoreRequest['point'] | null {
  const newest = newestInstant(target);
  if (newest === null) return null;
  if (at === null) return { kind: 'latest' };
  const atMs = Date.parse(at);
  // An instant that is not stored yet is asked for as well: the host reports why it refuses.
  return windowAt(target, atMs) !== null || atMs > newest.atMs ? { kind: 'time', time: at } : null;
}

function intoOf({ way, name }: RestoreChoice): RestoreRequest['into'] {
  switch (way) {
    case 'new':
      return { way, name };
    case 'folder':
      return { way, folder: name };
    case 'swap':
    case 'in-place':
      return { way };
  }
}

/** The request of a choice, as the command line makes it. Throws NOT_FOUND when no backup fits. */
export async function prepareRestore(choice: RestoreChoice, target: TargetView): Promise<PreparedRestore> {
  const into = intoOf(choice);
  const wholeServer = choice.database === null;
  const point = choice.way === 'folder' ? pointInTime(target, choice.at) : null;
  if (point !== null) return { request: { scope: { kind: 'server' }, point, into, options: {} }, backup: null };
  const { backup } = await api.selectBackup.query({
    target: choice.target,
    wanted: choice.at === null ? { type: 'latest' } : { type: 'at', atMs: Date.parse(choice.at) },
    purpose: 'restore',
    content: choice.database,
    prefer: wholeServer ? 'server' : 'database',
  });
  const scope = restoreScopeOf(backup.contents, { database: choice.database ?? undefined, wholeServer });
  return { request: { scope, point: { kind: 'backup', backupId: backup.backupId }, into, options: {} }, backup };
}

const shellWord = (text: string): string =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;

/** The command that does the same on a terminal. */
export function commandLineOf({ target, at, way, name, database }: RestoreChoice, confirm: string | null): string {
  const destination =
    way === 'new'
      ? `--to-new ${shellWord(name || 'NAME')}`
      : way === 'folder'
        ? `--to-folder ${shellWord(name || 'NAME')}`
        : `--${way}`;
  return [
    `lastgood restore ${target}`,
    at === null ? 'latest' : `--at ${at}`,
    ...(database === null ? [] : [`--database ${shellWord(database)}`]),
    destination,
    ...(confirm === null ? [] : [`--confirm ${shellWord(confirm)}`]),
  ].join(' ');
}
