import { type BackupMethodSupport, Failure } from '@lastgood/core';
import { type Manifest, manifestSchema, type Restorable, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { AGE } from '../pipeline/encoding.ts';
import { canonicalJson } from './canonical-json.ts';
import { parseJson, sha256 } from './metadata.ts';

/** The format that this version writes, and the newest that it can restore. */
export const FORMAT = 1;
/** Beyond this a number is damage, and must not push those of later backups out of what a manifest can hold. */
const MAX_SEQUENCE = 1_000_000_000;
const COMPRESSIONS = ['zstd', 'none'];
const encryptionSchema = z.object({ format: z.literal(AGE), recipients: z.array(z.string()) }).nullable();

export interface ReadManifest {
  readonly manifest: Manifest;
  readonly restorable: Restorable;
}
/** Where a manifest lies, and so where it has to belong. */
export type Belonging = TargetRef & { readonly backupId: string; readonly repositoryId: string };

/** The manifest as it is stored: canonical JSON with its own checksum, so that any later edit is noticed. */
export function sealManifest(content: Omit<Manifest, 'checksum'>): { manifest: Manifest; text: string } {
  const manifest = manifestSchema.parse({ ...content, checksum: sha256(canonicalJson(content)) });
  return { manifest, text: `${canonicalJson(manifest)}\n` };
}

/**
 * Reads a stored manifest. MANIFEST_INVALID when it was damaged, edited or does not belong where it lies (B12). One that a newer
 * version wrote is read as far as this one understands it, and is not `restorable`.
 */
export function parseManifest(
  text: string,
  expected: Belonging,
  understood: readonly BackupMethodSupport[],
): ReadManifest {
  const raw = parseObject(text, expected.backupId);
  const { format } = raw;
  if (typeof format === 'number' && Number.isInteger(format) && format > FORMAT) {
    checkBelonging(raw, expected);
    return { manifest: readNewer(raw, expected), restorable: newer('format', String(format)) };
  }
  const { checksum, ...content } = raw;
  if (sha256(canonicalJson(content)) !== checksum)
    throw invalid(expected.backupId, 'was changed after it was written, or is damaged');
  const parsed = manifestSchema.safeParse(raw);
  if (!parsed.success) throw invalid(expected.backupId, `is not valid: ${z.prettifyError(parsed.error)}`);
  checkBelonging(parsed.data, expected);
  const names = parsed.data.objects.map((object) => object.name);
  if (new Set(names).size !== names.length) throw invalid(expected.backupId, 'lists an object twice');
  return { manifest: parsed.data, restorable: restorableOf(parsed.data, raw, understood) };
}

const invalid = (backupId: string, what: string): Failure =>
  new Failure('MANIFEST_INVALID', `the manifest of ${backupId} ${what}`);

function parseObject(text: string, backupId: string): Record<string, unknown> {
  try {
    return z.record(z.string(), z.unknown()).parse(parseJson(text));
  } catch {
    throw invalid(backupId, 'is not a JSON object');
  }
}

function checkBelonging(manifest: Record<string, unknown>, expected: Belonging): void {
  for (const key of ['backupId', 'environment', 'host', 'target', 'repositoryId'] as const)
    if (manifest[key] !== expected[key])
      throw invalid(expected.backupId, `belongs to ${key} ${String(manifest[key])}, not ${expected[key]}`);
}

/** A later format keeps the keys that say where a backup belongs (docs/repository-format.md); any other may be missing. */
function readNewer(raw: Record<string, unknown>, { backupId }: Belonging): Manifest {
  const { shape } = manifestSchema;
  const at = instantOf(backupId);
  const lenient = manifestSchema.extend({
    jobId: shape.jobId.catch(backupId),
    attempt: shape.attempt.catch(1),
    sequence: shape.sequence.catch(1),
    engine: shape.engine.catch('unknown'),
    method: shape.method.catch('unknown'),
    startedAt: shape.startedAt.catch(at),
    recoveryPoint: shape.recoveryPoint.catch(at),
    finishedAt: shape.finishedAt.catch(at),
    lastgoodVersion: shape.lastgoodVersion.catch('unknown'),
    tool: shape.tool.catch({ name: 'unknown', version: 'unknown' }),
    server: shape.server.catch({ version: 'unknown', systemId: 'unknown' }),
    objects: shape.objects.catch([]),
    contents: shape.contents.catch([]),
    dependsOn: shape.dependsOn.catch([]),
    logRange: shape.logRange.catch(null),
    encryption: shape.encryption.catch(null),
    keyId: shape.keyId.catch(null),
    signature: shape.signature.catch(null),
    engineFacts: shape.engineFacts.catch({}),
    warnings: shape.warnings.catch([]),
    checksum: shape.checksum.catch('0'.repeat(64)),
  });
  return lenient.parse(raw);
}

/** When a backup was begun, by its time-sortable id. */
function instantOf(backupId: string): string {
  return new Date(Number.parseInt(backupId.replaceAll('-', '').slice(0, 12), 16)).toISOString();
}

const newer = (part: string, name: string): Restorable => ({
  ok: false,
  reason: { code: 'NEWER_FORMAT', params: { part, name } },
});

/** What this version does not know makes a backup that it cannot restore, and never one that is damaged or missing. */
function restorableOf(
  manifest: Manifest,
  raw: Record<string, unknown>,
  understood: readonly BackupMethodSupport[],
): Restorable {
  const key = unknownKey(raw, manifest);
  if (key !== undefined) return newer('key', key);
  const { engine, method, objects, encryption, keyId, signature } = manifest;
  if (!encryptionSchema.safeParse(encryption).success) return newer('key', 'encryption');
  for (const [name, value] of Object.entries({ keyId, signature })) if (value !== null) return newer('key', name);
  const methods = understood.filter((each) => each.engine === engine);
  if (methods.length === 0) return newer('engine', engine);
  const support = methods.find((each) => each.method === method);
  if (support === undefined) return newer('method', method);
  for (const object of objects) {
    if (!support.roles.includes(object.role)) return newer('role', object.role);
    if (!COMPRESSIONS.includes(object.compression)) return newer('compression', object.compression);
    if (!encryptionSchema.safeParse(object.encryption).success)
      return newer('encryption', object.encryption?.format ?? 'unknown');
  }
  return { ok: true };
}

/** The path of the first key that parsing has left out. */
function unknownKey(raw: unknown, parsed: unknown): string | undefined {
  if (raw === null || typeof raw !== 'object' || parsed === null || typeof parsed !== 'object') return undefined;
  const known = new Map(Object.entries(parsed));
  for (const [key, value] of Object.entries(raw)) {
    if (!known.has(key)) return key;
    const below = unknownKey(value, known.get(key));
    if (below !== undefined) return `${key}.${below}`;
  }
  return undefined;
}

/** The failure for what this version cannot do with a backup that a newer one made. */
export const newerFormat = (backupId: string, { part, name }: Readonly<Record<string, string>>): Failure =>
  new Failure('NEWER_FORMAT', `backup ${backupId} was made by a newer version: unknown ${part} "${name}"`);

const numbered = z.object({ sequence: z.int().min(1).max(MAX_SEQUENCE) });

/** The number in a manifest that need not be good; 0 when there is none to be read. */
export function sequenceOf(text: string): number {
  try {
    return numbered.parse(parseJson(text)).sequence;
  } catch {
    return 0;
  }
}

const named = z.object({ repositoryId: z.string() });

/** The repository that a manifest names; undefined when it cannot be read. The manifest need not be good. */
export function repositoryIdIn(text: string): string | undefined {
  try {
    return named.parse(parseJson(text)).repositoryId;
  } catch {
    return undefined;
  }
}
