import { type ArtifactSource, type EngineContext, Failure, type VerifyOutcome } from '@lastgood/core';
import { ToolFailure, withSandbox } from '@lastgood/host';
import {
  type Finding,
  findingOfError,
  type Manifest,
  type ManifestObject,
  makeFinding,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import { type AdminContext, checkDatabase, loadDatabase, readStoreInfo } from './admin-tool.ts';
import { type DumpFacts, dumpFactsOf } from './backup-method.ts';
import { BoltSession } from './bolt-session.ts';
import { checkDumpArchive } from './dump-archive.ts';
import { compareFingerprints, type FingerprintDifference, readFingerprint } from './fingerprint.ts';
import { loadFingerprint, objectsOf } from './fingerprint-schema.ts';
import { makeScratchStore, type ScratchOptions, type ScratchStore, startScratchServer } from './scratch-server.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';
import { type Neo4jTarget, scratchOptionsOf } from './target.ts';

const DAY_MS = 86_400_000;
const START_MS = 300_000;
const MAX_DIFFERENCES = 20;
/** Failures that mean that the backup is bad. */
const VERDICTS = ['BACKUP_CORRUPT', 'MANIFEST_INVALID', 'TOOL_FAILED'];

type BackedUpDatabase = DumpFacts['databases'][number];
interface Verification {
  readonly level: VerificationLevel;
  readonly target: Neo4jTarget;
  readonly source: ArtifactSource;
  readonly options: ScratchOptions;
  readonly context: EngineContext;
}

/** Throws BAD_INPUT for a level that the backup has no counts or digests for. */
export function checkLevel(level: VerificationLevel, manifest: Manifest): void {
  if (level < 5) return;
  const facts = dumpFactsOf(manifest);
  if (facts.databases.some(({ name, nodes }) => name !== SYSTEM_DATABASE && nodes === null))
    throw new Failure('BAD_INPUT', 'the graph was not counted when the backup was taken', {
      remedy: 'Verify to level 4, or take a backup in a way that copies the store.',
    });
  if (level === 6 && !facts.digests)
    throw new Failure('BAD_INPUT', 'the backup was taken without digests: its contents cannot be compared (level 6)', {
      remedy: 'Verify to level 5, or take a backup with --digests.',
    });
}

/**
 * Verifies levels 2 to 6, each with those below it; stops at the first level that found something. The database `system` is loaded and
 * checked (level 3), but not mounted: a scratch server has its own.
 */
export async function verify(
  level: VerificationLevel,
  target: Neo4jTarget,
  source: ArtifactSource,
  context: EngineContext,
): Promise<VerifyOutcome> {
  if (level < 2) return { reached: level, findings: [] };
  checkLevel(level, source.manifest);
  const decoded = await checkArchives(source, context);
  if (decoded.length > 0) return { reached: 1, findings: decoded };
  if (level === 2) return { reached: 2, findings: [] };
  const request = {
    limits: target.restoreTests,
    scratchUser: target.connection.scratch.user,
    needsConsent: level > 3,
    signal: context.signal,
  };
  const findings: VerificationFinding[] = [];
  // Each database has a sandbox of its own, which is gone before the next one is loaded.
  for (const database of dumpFactsOf(source.manifest).databases)
    findings.push(
      ...(await withSandbox(request, async (sandbox) => {
        const options = await scratchOptionsOf(target, sandbox, context.signal);
        return await checkRestores({ level, target, source, options, context }, database);
      })),
    );
  const reached = Math.min(level, ...findings.map((found) => found.level - 1)) as VerificationLevel;
  return { reached, findings };
}

/** Level 2: every archive decodes to its end, and every other object is what it should be. */
async function checkArchives(source: ArtifactSource, context: EngineContext): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const object of source.manifest.objects) {
    context.progress({ phase: 'decode', doneBytes: 0, totalBytes: object.produced.size });
    findings.push(...(await findingsOf(2, object.name, () => checkObject(source, object, context.signal))));
  }
  // A dump that is missing is noticed here, before anything is loaded.
  for (const { name } of dumpFactsOf(source.manifest).databases) objectsOf(source, name);
  return findings;
}

async function checkObject(source: ArtifactSource, object: ManifestObject, signal: AbortSignal): Promise<Finding[]> {
  if (object.role === 'fingerprint') await loadFingerprint(source, object, signal);
  else if (object.role !== 'dump') for await (const _chunk of source.open(object, signal));
  else {
    const report = await checkDumpArchive(source.open(object, signal), signal);
    if (report.state === 'damaged')
      return [makeFinding('DUMP_DAMAGED', { kind: 'database', name: object.contents ?? '' }, { fault: report.fault })];
  }
  return [];
}

/** Levels 3 to 6 of one database. */
async function checkRestores(verification: Verification, database: BackedUpDatabase): Promise<VerificationFinding[]> {
  const { level, source, options, context } = verification;
  const { dump } = objectsOf(source, database.name);
  context.progress({ phase: 'restore', doneBytes: 0, totalBytes: dump.produced.size });
  await using store = await makeScratchStore(options);
  const loaded = await findingsOf(3, dump.name, () => checkLoads(verification, store, database));
  if (loaded.length > 0 || level === 3 || database.name === SYSTEM_DATABASE) return loaded;
  const findings: VerificationFinding[] = [];
  await findingsOf(4, dump.name, async () => {
    await using server = await startScratchServer(store, database.name, START_MS, options);
    if ((await server.waitUntilMounted(START_MS)) === 'failed') {
      findings.push({ level: 4, object: dump.name, ...makeFinding('DATABASE_NOT_MOUNTED', subjectOf(database)) });
      return [];
    }
    await using session = await BoltSession.open(server.bolt, context.signal);
    if (level > 4) findings.push(...(await compareGraph(verification, session, database)));
    return [];
  });
  return findings;
}

const subjectOf = ({ name }: BackedUpDatabase) => ({ kind: 'database', name }) as const;

/** Level 3: neo4j-admin loads the archive, and the checker of the server finds the store consistent. */
async function checkLoads(
  { target, source, options, context }: Verification,
  store: ScratchStore,
  database: BackedUpDatabase,
): Promise<Finding[]> {
  const { name, lastTransaction, storeFormat } = database;
  const { stallMs } = target.connection;
  const user = options.sandbox.user ?? undefined;
  const admin: AdminContext = { ...options, user, store: store.folders, timeoutMs: 7 * DAY_MS, stallMs };
  await loadDatabase(admin, name, source.open(objectsOf(source, name).dump, context.signal));
  const differs = (reason: string): Finding[] => [
    makeFinding('STORE_NOT_AS_RECORDED', subjectOf(database), { reason }),
  ];
  const info = await readStoreInfo(admin, name);
  if (info.state !== 'clean') return differs(info.state);
  if (info.lastTransaction !== lastTransaction) return differs(`transaction ${info.lastTransaction}`);
  if (info.storeFormat !== storeFormat) return differs(`format ${info.storeFormat}`);
  context.progress({ phase: 'check', doneBytes: 0, totalBytes: null });
  const report = await checkDatabase(admin, name);
  if (report.state === 'consistent') return [];
  return [makeFinding('STORE_INCONSISTENT', subjectOf(database), { reason: report.state })];
}

/** Levels 5 and 6: counts, schema and indexes; digests of all contents. */
async function compareGraph(
  { level, target, source, context }: Verification,
  session: BoltSession,
  database: BackedUpDatabase,
): Promise<VerificationFinding[]> {
  const { fingerprint } = objectsOf(source, database.name);
  if (fingerprint === null) throw new Failure('MANIFEST_INVALID', 'the backup lacks the fingerprint of its graph');
  context.progress({ phase: 'compare', doneBytes: 0, totalBytes: null });
  const expected = await loadFingerprint(source, fingerprint, context.signal);
  const { queryMs } = target.connection;
  const found = await readFingerprint(session, database.name, { digests: level === 6, queryMs });
  if (level === 6 && expected.digests === null)
    return [{ level: 6, object: null, ...makeFinding('FINGERPRINT_WITHOUT_DIGESTS', subjectOf(database)) }];
  return compareFingerprints(expected, found)
    .slice(0, MAX_DIFFERENCES)
    .map((difference) => ({
      level: isDigest(difference) ? 6 : 5,
      object: fingerprint.name,
      ...makeFinding('GRAPH_DIFFERS', subjectOf(database), { difference: describeDifference(difference) }),
    }));
}

const isDigest = ({ code }: FingerprintDifference): boolean => code === 'node-digest' || code === 'relationship-digest';

/** A difference in short, such as `label-count Person: expected 3, found 2`. */
export function describeDifference(difference: FingerprintDifference): string {
  const name = 'name' in difference ? ` ${difference.name.slice(0, 200)}` : '';
  const counts = 'expected' in difference ? `: expected ${difference.expected}, found ${difference.found}` : '';
  return `${difference.code}${name}${counts}`;
}

/** Turns a failure that means "this backup is bad" into a finding; a test that broke down stays a failure. */
async function findingsOf(
  level: VerificationLevel,
  object: string,
  work: () => Promise<readonly Finding[]>,
): Promise<VerificationFinding[]> {
  try {
    return (await work()).map((found) => ({ level, object, ...found }));
  } catch (error) {
    // A tool that was killed, such as for lack of memory, says nothing about the backup.
    const wasKilled = error instanceof ToolFailure && error.signal !== null;
    if (!(error instanceof Failure) || wasKilled || !VERDICTS.includes(error.code)) throw error;
    return [{ level, object, ...findingOfError(error.wireError, null) }];
  }
}
