import {
  type ArtifactSource,
  type EngineContext,
  Failure,
  type RestoreTestLimits,
  type VerifyOutcome,
} from '@lastgood/core';
import { type Sandbox, withSandbox } from '@lastgood/host';
import {
  type Finding,
  findingOfError,
  type Manifest,
  type ManifestObject,
  makeFinding,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import { AofFileWalker, type AofFinding, judgeAofFile } from './aof-walker.ts';
import { toFinding } from './catalog-findings.ts';
import { runChecker } from './checkers.ts';
import type { RedisConnection } from './connection-schema.ts';
import { compareFingerprints, fingerprintOf, type RedisFingerprint } from './fingerprint.ts';
import { waitingClockOf } from './open-server.ts';
import { findServerProgram, parseVersion } from './programs.ts';
import { judgeRdb, type RdbFinding } from './rdb-report.ts';
import { walkRdb } from './rdb-walker.ts';
import { readFingerprint } from './read-fingerprint.ts';
import { startScratchServer } from './scratch-server.ts';
import type { Product } from './server-facts.ts';
import {
  dataObjectsOf,
  type EngineFacts,
  engineFactsOf,
  keysOf,
  methodOf,
  readStoredConfig,
  readStoredFingerprint,
  readStoredSet,
  sumOf,
} from './stored-backup.ts';
import { linkInto, type UnpackedBackup, withUnpacked } from './unpacked-backup.ts';

const MAX_DIFFERENCES = 20;
/** What a failure means when it is about the bytes of the backup. */
const VERDICTS: readonly string[] = ['BACKUP_CORRUPT', 'MANIFEST_INVALID'];

/** The version of the server that loads the backup. */
export interface Loader {
  readonly product: Product;
  readonly version: string;
}
interface Verification {
  readonly connection: RedisConnection;
  readonly source: ArtifactSource;
  readonly facts: EngineFacts;
  readonly loader: Loader;
  readonly context: EngineContext;
}
interface ContainedVerification extends Verification {
  readonly sandbox: Sandbox;
}

/** Turns a failure that means a bad backup into a finding. Any other failure says nothing about the backup, and is thrown. */
async function findingsOf(
  level: VerificationLevel,
  object: string | null,
  work: () => Promise<readonly Finding[]>,
): Promise<VerificationFinding[]> {
  const about = (finding: Finding): VerificationFinding => ({ level, object, ...finding });
  try {
    return (await work()).map(about);
  } catch (error) {
    if (!(error instanceof Failure) || !VERDICTS.includes(error.code)) throw error;
    return [about(findingOfError(error.wireError, null))];
  }
}

/** Level 2: every file is walked to its end, checks itself, and holds what the fingerprint says. */
async function checkDecodes(run: Verification): Promise<VerificationFinding[]> {
  const { source, context } = run;
  context.progress({ phase: 'decode', doneBytes: 0, totalBytes: sumOf(dataObjectsOf(source.manifest), 'produced') });
  const findings: VerificationFinding[] = [];
  for (const object of dataObjectsOf(source.manifest))
    findings.push(...(await findingsOf(2, object.name, async () => await walkObject(run, object))));
  if (findings.length > 0) return findings;
  return await findingsOf(2, null, async () => {
    await readStoredConfig(source, context.signal);
    await readStoredFingerprint(source, context.signal);
    if (methodOf(source.manifest) === 'aof') await readStoredSet(source, context.signal);
    return [];
  });
}

/** Warnings are in the manifest since the backup: they do not make it bad. */
const errorsOf = (found: readonly (RdbFinding | AofFinding)[]): Finding[] =>
  found.filter(({ severity }) => severity === 'error').map((each) => toFinding(each));

async function walkObject({ source, context }: Verification, object: ManifestObject): Promise<Finding[]> {
  const { signal } = context;
  if (object.role === 'aof') {
    const walker = new AofFileWalker();
    for await (const chunk of source.open(object, signal) as AsyncIterable<Buffer>) walker.push(chunk);
    return errorsOf(judgeAofFile(walker.report()));
  }
  const report = await walkRdb(source.open(object, signal));
  const errors = errorsOf(judgeRdb(report));
  if (errors.length > 0) return errors;
  const stored = await readStoredFingerprint(source, signal);
  const counted = fingerprintOf(report);
  if (stored === null || counted === null) return [];
  return compareFingerprints(stored, counted, stored.snapshotAt).findings.length === 0
    ? []
    : [makeFinding('FINGERPRINT_DIFFERS', null)];
}

/** Level 3: the check tool of the version that wrote the file. `isLast`: nothing stricter follows. */
async function runCheckTool(
  { connection, facts, sandbox, context }: ContainedVerification,
  { kind, checked }: UnpackedBackup,
  isLast: boolean,
): Promise<VerificationFinding[]> {
  const outcome = await runChecker({
    product: facts.product,
    version: parseVersion(facts.version),
    tool: `check-${kind}`,
    path: checked,
    binDir: connection.binDir,
    stallMs: connection.stallMs,
    signal: context.signal,
    sandbox,
  });
  if (outcome.state === 'failed')
    return [{ level: 3, object: null, ...makeFinding('CHECK_TOOL_REFUSED', null, { version: outcome.version }) }];
  if (outcome.state === 'skipped') {
    if (isLast)
      throw new Failure('TOOL_NOT_FOUND', `no check tool of ${facts.product} ${facts.version} is on this host`, {
        remedy: 'Install the tools of this version, or verify to level 4: a server that loads the file is stricter.',
      });
    context.log(`level 3: no check tool of ${facts.product} ${facts.version} is on this host (${outcome.reason})`);
  }
  return [];
}

/** Levels 4 to 6: a scratch server loads the file, holds as many keys of each kind, and the same values. */
async function checkRestores(
  level: VerificationLevel,
  { connection, source, facts, loader, sandbox, context }: ContainedVerification,
  unpacked: UnpackedBackup,
): Promise<VerificationFinding[]> {
  const { kind } = unpacked;
  const { signal } = context;
  const stored = await readStoredFingerprint(source, signal);
  const findings: VerificationFinding[] = [];
  findings.push(
    ...(await findingsOf(4, null, async () => {
      context.progress({ phase: 'restore', doneBytes: 0, totalBytes: null });
      await using scratch = await startScratchServer({
        program: await findServerProgram(loader.product, loader.version, connection.binDir, signal),
        connection,
        kind,
        place: async (dataDir) => await linkInto(unpacked, dataDir),
        needDiskBytes: 0,
        needMemoryBytes: facts.memoryBytes,
        clock: waitingClockOf(context),
        signal,
        sandbox,
      });
      const expected = keysOf(facts);
      if (expected !== null && scratch.keysLoaded !== expected)
        return [makeFinding('KEYS_LOADED_DIFFER', null, { found: scratch.keysLoaded, expected })];
      if (level < 5 || stored === null) return [];
      const found = await readScratch(scratch.connection, stored, level, context);
      const { findings: differences } = compareFingerprints(stored, found, context.clock.now());
      const levelOf = (code: string): 5 | 6 => (code === 'DIGEST_DIFFERS' ? 6 : 5);
      findings.push(
        ...differences
          .slice(0, MAX_DIFFERENCES)
          .map((difference) => ({ level: levelOf(difference.code), object: null, ...toFinding(difference) })),
      );
      return [];
    })),
  );
  return findings;
}

async function readScratch(
  connection: RedisConnection,
  { snapshotAt }: RedisFingerprint,
  level: VerificationLevel,
  context: EngineContext,
): Promise<RedisFingerprint> {
  return await readFingerprint({
    connection,
    snapshotAt,
    digests: level === 6,
    signal: context.signal,
    onProgress: (doneItems) => context.progress({ phase: 'compare', doneBytes: 0, totalBytes: null, doneItems }),
  });
}

/** Throws BAD_INPUT for levels that compare with what the backup did not store. That does not make the backup bad. */
export function checkLevel(level: VerificationLevel, manifest: Manifest): void {
  if (level < 5) return;
  const { digests } = engineFactsOf(manifest);
  if (!manifest.objects.some(({ role }) => role === 'fingerprint'))
    throw new Failure('BAD_INPUT', 'the keys of the backup were not counted, so there is nothing to compare with', {
      remedy: 'Verify to level 4, or take a backup with --digests.',
    });
  if (level === 6 && !digests)
    throw new Failure('BAD_INPUT', 'the backup was taken without digests: its values cannot be compared (level 6)', {
      remedy: 'Verify to level 5, or take a backup with --digests.',
    });
}

const worst = (findings: readonly VerificationFinding[]): VerificationLevel =>
  Math.min(...findings.map(({ level }) => level - 1)) as VerificationLevel;

/**
 * Levels 2 to 6; each includes those below it. Stops at the first level that found something. `loader`: the version of the scratch server,
 * that of the source when absent.
 */
export async function verify(
  level: VerificationLevel,
  connection: RedisConnection,
  source: ArtifactSource,
  context: EngineContext,
  { limits, loader }: { readonly limits: RestoreTestLimits; readonly loader?: Loader },
): Promise<VerifyOutcome> {
  if (level < 2) return { reached: level, findings: [] };
  checkLevel(level, source.manifest);
  const facts = engineFactsOf(source.manifest);
  const run: Verification = { connection, source, facts, loader: loader ?? facts, context };
  const decoded = await checkDecodes(run);
  if (decoded.length > 0) return { reached: 1, findings: decoded };
  if (level === 2) return { reached: 2, findings: [] };
  const request = {
    limits,
    scratchUser: connection.scratchUser,
    needsConsent: level > 3,
    signal: context.signal,
  };
  return await withSandbox(request, (sandbox) => verifyFiles(level, { ...run, sandbox }));
}

async function verifyFiles(level: VerificationLevel, run: ContainedVerification): Promise<VerifyOutcome> {
  return await withUnpacked(run, async (unpacked) => {
    const checked = await runCheckTool(run, unpacked, level === 3);
    if (checked.length > 0) return { reached: 2, findings: checked };
    if (level === 3) return { reached: 3, findings: [] };
    const findings = await checkRestores(level, run, unpacked);
    return { reached: findings.length > 0 ? worst(findings) : level, findings };
  });
}
