import { Failure } from '@lastgood/core';
import { type TargetRef, uuidSchema } from '@lastgood/protocol';

/** The names of all objects of a repository. Nothing else makes one. */
export const MARKER = 'lastgood.json';
export const MANIFEST = 'manifest.json';
/** Of a backup that is being written. Data without it and without a manifest has lost its manifest. */
export const INCOMPLETE = 'incomplete';
export const VERIFIED = 'verified.json';
/** Of a backup that was copied here: the repository that its manifest names. */
export const COPIED = 'copied.json';
const DATA_OBJECT = /^data\/[0-9]{4}\.[a-z]+(\.zst)?(\.age)?$/;

export const targetPrefix = ({ environment, host, target }: TargetRef): string => `${environment}/${host}/${target}/`;
export const ownerName = (ref: TargetRef): string => `${targetPrefix(ref)}owner.json`;
export const backupsPrefix = (ref: TargetRef): string => `${targetPrefix(ref)}backups/`;
export const holdsPrefix = (ref: TargetRef): string => `${targetPrefix(ref)}holds/`;
export const logsPrefix = (ref: TargetRef): string => `${targetPrefix(ref)}logs/`;
export const tombstonesPrefix = (ref: TargetRef): string => `${targetPrefix(ref)}tombstones/`;

/** Throws BAD_INPUT for what is not a backup id, and would be another name. */
export function backupPrefix(ref: TargetRef, backupId: string): string {
  return `${backupsPrefix(ref)}${checkedId(backupId)}/`;
}
export const tombstoneName = (ref: TargetRef, backupId: string): string =>
  `${tombstonesPrefix(ref)}${checkedId(backupId)}.json`;

export const holdName = (ref: TargetRef, backupId: string): string => `${holdsPrefix(ref)}${checkedId(backupId)}.json`;

function checkedId(backupId: string): string {
  if (!isBackupId(backupId)) throw new Failure('BAD_INPUT', 'a backup id is a UUID');
  return backupId;
}
export const isBackupId = (text: string): boolean => uuidSchema.safeParse(text).success;

/** The name of an artifact below the prefix of its backup. */
export const dataName = (number: number, extension: string): string =>
  `data/${String(number).padStart(4, '0')}.${extension}`;
export const isDataName = (name: string): boolean => DATA_OBJECT.test(name);

/** The id in `<prefix><id>.json`; undefined for any other name. */
export function idOfFile(prefix: string, name: string): string | undefined {
  const id = name.slice(prefix.length).replace(/\.json$/, '');
  return name === `${prefix}${id}.json` && isBackupId(id) ? id : undefined;
}

/** The backup that an object belongs to, and its name there; undefined for what is below no backup. */
export function backupOf(ref: TargetRef, name: string): { backupId: string; below: string } | undefined {
  const prefix = backupsPrefix(ref);
  if (!name.startsWith(prefix)) return undefined;
  const [backupId = '', ...below] = name.slice(prefix.length).split('/');
  return isBackupId(backupId) ? { backupId, below: below.join('/') } : undefined;
}
