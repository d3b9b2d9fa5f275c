import { type BackupMethodSupport, Failure, unreachable } from '@lastgood/core';
import { type Manifest, manifestSchema, type Restorable, type TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { AGE } from '../pipeline/encoding.ts';
import { canonicalJson } from './canonical-json.ts';
import { parseJson, sha256 } from './metadata.ts';
import { isKeyId, isSignedBy, isTrusted, type Signer, signContent, type TrustedKeys } from './signature.ts';

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

/**
 * The manifest as it is stored: canonical JSON, signed by the host, with its own checksum. The checksum shows damage, the signature
 * who wrote it.
 */
export function sealManifest(
  content: Omit<Manifest, 'checksum' | 'keyId' | 'signature'>,
  signer: Signer | undefined,
): { manifest: Manifest; text: string } {
  const named = { ...content, keyId: signer?.keyId ?? null };
  const signed = { ...named, signature: signer === undefined ? null : signContent(signer, 'manifest', named) };
  const manifest = manifestSchema.parse({ ...signed, checksum: sha256(canonicalJson(signed)) });
  return { manifest, text: `${canonicalJson(manifest)}\n` };
}

/**
 * Reads a stored manifest. MANIFEST_INVALID when it was damaged, edited, has the signature of another content, or does not belong where
 * it lies (B12). One that a newer version wrote is read as far as this one understands it, and is not `restorable`; neither is one
 * that no trusted key has signed.
 */
export function parseManifest(
  text: string,
  expected: Belonging,
  understood: readonly BackupMethodSupport[],
  trusted: TrustedKeys = null,
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
  checkSignature(content, expected.backupId);
  const names = parsed.data.objects.map((object) => object.name);
  if (new Set(names).size !== names.length) throw invalid(expected.backupId, 'lists an object twice');
  // Who wrote it comes first: newer parts that a forged manifest names are of no interest.
  const trust = trustOf(parsed.data, trusted);
  return { manifest: parsed.data, restorable: trust.ok ? restorableOf(parsed.data, raw, understood) : trust };
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

function checkSignature(content: Record<string, unknown>, backupId: string): void {
  const { signature, ...signed } = content;
  const { keyId } = signed;
  if (typeof keyId !== 'string' || !isKeyId(keyId)) return;
  if (typeof signature !== 'string' || !isSignedBy(keyId, 'manifest', signed, signature))
    throw invalid(backupId, `has a signature that key ${keyId} did not make`);
}

/** Whether a trusted key has signed a manifest whose signature is right. */
function trustOf({ keyId }: Manifest, trusted: TrustedKeys): Restorable {
  if (isTrusted(trusted, keyId)) return { ok: true };
  const reason =
    keyId === null
      ? ({ code: 'UNSIGNED', params: {} } as const)
      : ({ code: 'UNKNOWN_KEY', params: { keyId } } as const);
  return { ok: false, reason };
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
  if ((keyId === null) !== (signature === null) || (keyId !== null && !isKeyId(keyId))) return newer('key', 'keyId');
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

/** The failure for what cannot be done with a backup that is not restorable. */
export function notRestorable(
  backupId: string,
  { code, params }: Extract<Restorable, { ok: false }>['reason'],
): Failure {
  switch (code) {
    case 'NEWER_FORMAT':
      return new Failure(
        'NEWER_FORMAT',
        `backup ${backupId} was made by a newer version: unknown ${params['part']} "${params['name']}"`,
      );
    case 'DEPENDENCY_MISSING':
      return new Failure('BACKUP_CORRUPT', `backup ${backupId} needs backup ${params['backupId']}, which is not good`);
    case 'UNSIGNED':
      return new Failure('BACKUP_UNTRUSTED', `backup ${backupId} is not signed`);
    case 'UNKNOWN_KEY':
      return new Failure(
        'BACKUP_UNTRUSTED',
        `backup ${backupId} is signed by ${params['keyId']}, which this host does not trust`,
      );
    default:
      return unreachable(code);
  }
}

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
