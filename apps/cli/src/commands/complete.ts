import { Failure } from '@lastgood/core';
import type { CommandContext } from '../command-context.ts';
import { fullName } from './resolve.ts';

const MOST = 1000;

async function namesOf(context: CommandContext, kind: string): Promise<string[]> {
  const client = await context.client();
  switch (kind) {
    case 'targets':
      return (await client.targets.query({})).map(fullName);
    case 'backups':
      return ['latest', ...(await client.backups.query({ limit: MOST })).map(({ backupId }) => backupId)];
    case 'jobs':
      return (await client.jobs.query({ limit: MOST })).map(({ jobId }) => jobId);
    default:
      throw new Failure('BAD_INPUT', `it is one of targets, backups and jobs, not "${kind}"`);
  }
}

/** Lists names and ids for the completion of a shell, one in each line. */
export async function complete(context: CommandContext, kind: string): Promise<number> {
  const names = await namesOf(context, kind);
  context.output.answer({ names }, () => names);
  return 0;
}
