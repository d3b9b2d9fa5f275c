import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { writeFileDurably } from '@lastgood/host';
import { z } from 'zod';

const acceptedSchema = z.object({ sequence: z.int().min(0), at: z.iso.datetime({ offset: true }) });

/** Beside the journal, because only this host may decide it: neither the control plane nor a writer of the repository can. */
const fileOf = (dataDir: string, target: string): string => join(dataDir, `accepted-sizes-${target}.json`);

/**
 * The sequence up to which this host has accepted the sizes of a target's backups; null before the first time. A file that cannot be
 * read is refused with DATA_FOLDER_UNSAFE.
 */
export async function readAcceptedSequence(dataDir: string, target: string): Promise<number | null> {
  const file = fileOf(dataDir, target);
  try {
    return acceptedSchema.parse(JSON.parse(await readFile(file, 'utf8'))).sequence;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} cannot be read`, {
      cause: error,
      remedy: `Remove ${file}, then run \`lastgood agent accept\` if the sizes of the backups are right.`,
    });
  }
}

/** Accepts the sizes of all backups up to a sequence. */
export async function acceptSizes(dataDir: string, target: string, sequence: number, now: number): Promise<void> {
  const at = new Date(now).toISOString();
  await writeFileDurably(fileOf(dataDir, target), JSON.stringify({ sequence, at }));
}
