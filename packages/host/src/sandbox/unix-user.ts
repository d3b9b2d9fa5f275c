import { Failure } from '@lastgood/core';
import { cancellationOf } from '../poll-until.ts';
import { captureTool } from '../run-tool.ts';

const QUICK_MS = 10_000;

export interface UnixUser {
  readonly uid: number;
  readonly gid: number;
}

/** The ids of the user that runs scratch servers of an agent that is root. Throws CONFIG_INVALID when it does not exist. */
export async function findScratchUser(name: string, signal: AbortSignal): Promise<UnixUser> {
  const ask = async (flag: string): Promise<number> =>
    Number((await captureTool({ file: 'id', args: [flag, name], signal, timeoutMs: QUICK_MS }, 4096)).stdout.trim());
  try {
    return { uid: await ask('-u'), gid: await ask('-g') };
  } catch (error) {
    if (signal.aborted) throw cancellationOf(signal, 'the restore test');
    throw new Failure('CONFIG_INVALID', `the user "${name}" of scratch servers does not exist`, { cause: error });
  }
}
