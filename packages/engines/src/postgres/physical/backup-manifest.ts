import { createHash } from 'node:crypto';
import { Failure } from '@lastgood/core';
import { z } from 'zod';
import { type Lsn, parseLsn } from '../wal/lsn.ts';

const fileSchema = z.object({
  Path: z.string().optional(),
  /** The bytes of a path that is not UTF-8, in hexadecimal. */
  'Encoded-Path': z
    .string()
    .regex(/^(?:[0-9a-f]{2})+$/)
    .optional(),
  Size: z.int().nonnegative(),
  'Checksum-Algorithm': z.literal('SHA256'),
  Checksum: z.string().regex(/^[0-9a-f]{64}$/),
});
const rangeSchema = z.object({ Timeline: z.int(), 'Start-LSN': z.string(), 'End-LSN': z.string() });
const manifestSchema = z.object({
  'PostgreSQL-Backup-Manifest-Version': z.union([z.literal(1), z.literal(2)]),
  Files: z.array(fileSchema),
  'WAL-Ranges': z.array(rangeSchema),
  'Manifest-Checksum': z.string(),
});

export interface FileDigest {
  readonly sizeBytes: number;
  readonly sha256: string;
}
export interface WalRange {
  readonly timeline: number;
  readonly from: Lsn;
  readonly to: Lsn;
}
/** What PostgreSQL lists of a base backup; paths are relative to the data folder, tablespaces under `pg_tblspc/<oid>`. */
export interface BackupManifest {
  readonly files: ReadonlyMap<string, FileDigest>;
  readonly walRanges: readonly WalRange[];
}

const invalid = (what: string, cause?: unknown): Failure =>
  new Failure('BACKUP_CORRUPT', `the backup_manifest of the backup is damaged: ${what}`, { cause });

/** The last line holds the SHA-256 of everything before it. */
function checkOwnChecksum(bytes: Buffer, stated: string): void {
  const lastLine = bytes.lastIndexOf('"Manifest-Checksum"');
  const sha256 = createHash('sha256').update(bytes.subarray(0, lastLine)).digest('hex');
  if (sha256 !== stated) throw invalid('its own checksum is wrong');
}

/** Reads `backup_manifest` with SHA-256 checksums, after checking its own. Throws BACKUP_CORRUPT. */
export function parseBackupManifest(bytes: Buffer): BackupManifest {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw invalid('it is not JSON', error);
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) throw invalid(z.prettifyError(parsed.error).slice(0, 500));
  const manifest = parsed.data;
  checkOwnChecksum(bytes, manifest['Manifest-Checksum']);
  const files = new Map<string, FileDigest>();
  for (const file of manifest.Files) {
    // Paths that are not UTF-8 are compared in the form in which names of tar headers are decoded.
    const path = file.Path ?? Buffer.from(file['Encoded-Path'] ?? '', 'hex').toString('utf8');
    if (path === '' || files.has(path)) throw invalid('a path is missing or listed twice');
    files.set(path, { sizeBytes: file.Size, sha256: file.Checksum });
  }
  const walRanges = manifest['WAL-Ranges'].map((range) => ({
    timeline: range.Timeline,
    from: parseLsn(range['Start-LSN']),
    to: parseLsn(range['End-LSN']),
  }));
  return { files, walRanges };
}

export interface FileDifference {
  readonly code: 'missing' | 'unexpected' | 'size' | 'checksum';
  readonly path: string;
}

/** How the files that were found differ from those that are listed; empty when they are the same. */
export function compareFiles(
  listed: ReadonlyMap<string, FileDigest>,
  found: ReadonlyMap<string, FileDigest>,
): readonly FileDifference[] {
  const differences: FileDifference[] = [];
  for (const [path, wanted] of listed) {
    const file = found.get(path);
    if (file === undefined) differences.push({ code: 'missing', path });
    else if (file.sizeBytes !== wanted.sizeBytes) differences.push({ code: 'size', path });
    else if (file.sha256 !== wanted.sha256) differences.push({ code: 'checksum', path });
  }
  for (const path of found.keys()) if (!listed.has(path)) differences.push({ code: 'unexpected', path });
  return differences;
}
