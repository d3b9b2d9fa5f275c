import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { removeFile, syncFolder, writeFileDurably } from '@lastgood/host';
import type { TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from '../canonical-json.ts';
import { exists } from './incomplete-backup.ts';
import { readJson } from './metadata-file.ts';

const OWNER = 'owner.json';
/** Version 0.1.0 wrote no `installId`: the next backup adopts such a target. */
const ownerSchema = z.object({ systemId: z.string().min(1), installId: z.string().min(1).optional() });
type Owner = z.infer<typeof ownerSchema>;

function foreign({ environment, host, target }: TargetRef, folder: string, what: string, when: string): Failure {
  return new Failure('REPOSITORY_FOREIGN', `${environment}/${host}/${target} ${what}`, {
    remedy: `Give each target its own repository or name. ${when} run \`lastgood agent adopt --target ${target}\` on its host, or remove ${join(folder, OWNER)}: the next backup takes the folder over.`,
  });
}

/** Whose backups lie in the folder of a target. Throws REPOSITORY_FOREIGN when another installation than `writer` writes there (A15, B14). */
export async function checkWriter(
  folder: string,
  ref: TargetRef,
  writer: string | undefined,
): Promise<Owner | undefined> {
  const owner = await readJson(join(folder, OWNER), ownerSchema);
  if (owner?.installId !== undefined && owner.installId !== writer)
    throw foreign(
      ref,
      folder,
      `is written by the installation ${owner.installId}, not by ${writer ?? 'this one'}`,
      'When that agent is gone for good, or is this one enrolled anew,',
    );
  return owner;
}

/** Throws REPOSITORY_FOREIGN when a backup of this system by this writer would be refused. */
export async function checkOwner(
  folder: string,
  ref: TargetRef,
  writer: string | undefined,
  systemId: string,
): Promise<Owner | undefined> {
  const owner = await checkWriter(folder, ref, writer);
  if (owner !== undefined && owner.systemId !== systemId)
    throw foreign(
      ref,
      folder,
      `holds backups of system ${owner.systemId}, not of ${systemId}`,
      'When these are the backups of a server that was replaced by this one,',
    );
  return owner;
}

/** Takes the folder of a target from whoever writes there: the next backup makes it its own. Tells whether it had an owner. */
export async function disown(folder: string): Promise<boolean> {
  const path = join(folder, OWNER);
  if (!(await exists(path))) return false;
  await removeFile(path);
  await syncFolder(folder);
  return true;
}

/** Makes the folder of a target this writer's and this system's, or refuses: one server and one agent write there. */
export async function claim(
  folder: string,
  ref: TargetRef,
  writer: string | undefined,
  systemId: string,
): Promise<void> {
  const owner = await checkOwner(folder, ref, writer, systemId);
  if (owner !== undefined && owner.installId === writer) return;
  await writeFileDurably(join(folder, OWNER), `${canonicalJson({ systemId, installId: writer })}\n`);
}
