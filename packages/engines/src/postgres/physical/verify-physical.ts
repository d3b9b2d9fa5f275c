import { text } from 'node:stream/consumers';
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
  type ManifestObject,
  makeFinding,
  type VerificationFinding,
  type VerificationLevel,
} from '@lastgood/protocol';
import type { PostgresConnection } from '../connection-schema.ts';
import { planRecovery } from '../point-in-time/plan.ts';
import { filesFrom } from '../point-in-time/point-of-request.ts';
import { readCopy } from '../point-in-time/read-copy.ts';
import { aheadBytes, findServerPrograms, recoverCopy, unpackedBytes } from '../point-in-time/server-copy.ts';
import { makeScratchFolder, viewOf } from '../scratch-server.ts';
import { microsOfMs } from '../wal/instant.ts';
import { parseLsn } from '../wal/lsn.ts';
import { StoredWal } from '../wal/stored-wal.ts';
import { ArchiveChecker } from './archive-checker.ts';
import { compareFiles, parseBackupManifest } from './backup-manifest.ts';
import { withoutUnlisted } from './physical-backup.ts';
import { backupRecordOf, type PhysicalFacts, physicalFactsOf } from './physical-facts.ts';

const MAX_FINDINGS = 20;
/** Codes that say that the backup is bad; every other failure says that the check could not be done. */
const VERDICTS: readonly string[] = ['BACKUP_CORRUPT', 'MANIFEST_INVALID', 'RESTORE_FAILED'];

/** Turns a failure that means "this backup is bad" into a finding. */
async function findingsOf(
  level: VerificationLevel,
  object: string | null,
  work: () => Promise<readonly Finding[]>,
): Promise<VerificationFinding[]> {
  try {
    return (await work()).slice(0, MAX_FINDINGS).map((finding) => ({ level, object, ...finding }));
  } catch (error) {
    if (!(error instanceof Failure) || !VERDICTS.includes(error.code)) throw error;
    return [{ level, object, ...findingOfError(error.wireError, null) }];
  }
}

const objectNamed = (source: ArtifactSource, name: string): ManifestObject => {
  const object = source.manifest.objects.find((each) => each.name === name);
  if (object === undefined) throw new Failure('MANIFEST_INVALID', `the backup has no object ${name}`);
  return object;
};

/** Decodes every archive to its end and compares each file with the manifest of PostgreSQL. Checks pages on the way. */
async function checkArchives(
  source: ArtifactSource,
  facts: PhysicalFacts,
  context: EngineContext,
): Promise<{ readonly checker: ArchiveChecker; readonly findings: readonly VerificationFinding[] }> {
  const pages = { startLsn: parseLsn(facts.startLsn), blockBytes: facts.blockBytes };
  const checker = new ArchiveChecker(facts.hasChecksums ? pages : null);
  const totalBytes = unpackedBytes(source.manifest);
  const findings: VerificationFinding[] = [];
  let doneBytes = 0;
  for (const { oid, object: name } of facts.tablespaces)
    findings.push(
      ...(await findingsOf(2, name, async () => {
        const content = source.open(objectNamed(source, name), context.signal) as AsyncIterable<Buffer>;
        for await (const chunk of checker.check(oid, content)) {
          doneBytes += chunk.length;
          context.progress({ phase: 'decode', doneBytes, totalBytes });
        }
        return [];
      })),
    );
  if (findings.length > 0) return { checker, findings };
  const manifest = source.manifest.objects.find(({ role }) => role === 'manifest');
  findings.push(
    ...(await findingsOf(2, manifest?.name ?? null, async () => {
      if (manifest === undefined) throw new Failure('MANIFEST_INVALID', 'the backup has no manifest of PostgreSQL');
      const listed = parseBackupManifest(Buffer.from(await text(source.open(manifest, context.signal))));
      return compareFiles(listed.files, withoutUnlisted(checker)).map(({ path, code }) =>
        makeFinding('FILE_DIFFERS', null, { path, difference: code }),
      );
    })),
  );
  return { checker, findings };
}

const originOf = (source: ArtifactSource, { segmentBytes, majorVersion }: PhysicalFacts) => ({
  systemId: source.manifest.server.systemId,
  segmentBytes,
  majorVersion,
});

async function openWal(source: ArtifactSource, facts: PhysicalFacts, context: EngineContext): Promise<StoredWal> {
  const { logRange } = source.manifest;
  if (logRange === null) throw new Failure('MANIFEST_INVALID', 'the backup names no WAL');
  return await StoredWal.open([source.log(logRange.stream)], originOf(source, facts), context.signal);
}

/** Every WAL segment of the backup is there, is of this server, and has the bytes that were stored. */
async function checkWal(source: ArtifactSource, facts: PhysicalFacts, context: EngineContext): Promise<Finding[]> {
  const { logRange } = source.manifest;
  const stored = await openWal(source, facts, context);
  const backup = backupRecordOf(source.manifest);
  const files = filesFrom(backup, backup.timeline, stored) ?? [];
  const isComplete = planRecovery({ kind: 'backup', id: backup.id }, backup.timeline, {
    holdings: stored.holdings,
    backups: [backup],
    contents: new Map(),
    observed: null,
    now: microsOfMs(context.clock.now()),
  });
  if (isComplete.kind === 'refusal')
    return [makeFinding('WAL_SEGMENT_MISSING', null, { segment: `${logRange?.from} to ${logRange?.to}` })];
  const findings: Finding[] = [];
  for (const file of files.slice(0, isComplete.files.length))
    try {
      await stored.check(file);
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== 'BACKUP_CORRUPT') throw error;
      findings.push(makeFinding('WAL_SEGMENT_INVALID', null, { segment: stored.nameOf(file), reason: error.message }));
    }
  return findings;
}

interface CopyTest {
  readonly connection: PostgresConnection;
  readonly source: ArtifactSource;
  readonly facts: PhysicalFacts;
  readonly sandbox: Sandbox;
  readonly context: EngineContext;
}

/** Recovers the backup to its end in a scratch server; level 5 also reads every table to its end. */
async function checkStarts(
  level: VerificationLevel,
  { connection, source, facts, sandbox, context }: CopyTest,
): Promise<VerificationFinding[]> {
  const binDir = await findServerPrograms(connection, facts.majorVersion, context.signal);
  const needBytes = unpackedBytes(source.manifest) + aheadBytes(facts);
  await using scratch = await makeScratchFolder(connection, needBytes, sandbox);
  const stored = await openWal(source, facts, context);
  const backup = backupRecordOf(source.manifest);
  const plan = planRecovery({ kind: 'backup', id: backup.id }, backup.timeline, {
    holdings: stored.holdings,
    backups: [backup],
    contents: new Map(),
    observed: null,
    now: microsOfMs(context.clock.now()),
  });
  if (plan.kind === 'refusal')
    return [{ level: 3, object: null, ...makeFinding('WAL_SEGMENT_MISSING', null, { segment: 'of the backup' }) }];
  const { path } = scratch;
  const contents = source.manifest.contents.map(({ name }) => name);
  return await findingsOf(level >= 5 ? 5 : 4, null, async () => {
    await using server = await recoverCopy({
      backup: source,
      plan,
      stored,
      folder: path,
      socketFolder: path,
      binDir,
      user: sandbox.user,
      contain: (call) => sandbox.contain(call, viewOf(path, binDir)),
      isDurable: false,
      connection,
      context,
    });
    const onTable = (doneItems: number): void =>
      context.progress({ phase: 'check', doneBytes: 0, totalBytes: null, doneItems });
    return (await readCopy(server.connection, contents, level >= 5, context.signal, onTable)).findings;
  });
}

/** Levels 2 to 5 of a physical backup; each includes those below it. Stops at the first level that found something. */
export async function verifyPhysical(
  level: VerificationLevel,
  connection: PostgresConnection,
  limits: RestoreTestLimits,
  source: ArtifactSource,
  context: EngineContext,
): Promise<VerifyOutcome> {
  const facts = physicalFactsOf(source.manifest);
  const failed = (findings: readonly VerificationFinding[]): VerifyOutcome => ({
    reached: (Math.min(...findings.map((finding) => finding.level)) - 1) as VerificationLevel,
    findings,
  });
  const { checker, findings: ofArchives } = await checkArchives(source, facts, context);
  if (ofArchives.length > 0) return failed(ofArchives);
  if (level < 3) return { reached: 2, findings: [] };
  const [first] = checker.damagedPages;
  const ofPages =
    first === undefined
      ? []
      : [makeFinding('PAGES_DAMAGED', null, { pages: checker.damagedPageCount, block: first.block, path: first.path })];
  const ofFiles = [
    ...ofPages.map((finding) => ({ level: 3, object: null, ...finding })),
    ...(await findingsOf(3, null, () => checkWal(source, facts, context))),
  ];
  if (ofFiles.length > 0) return failed(ofFiles);
  if (level < 4) return { reached: 3, findings: [] };
  const request = { limits, scratchUser: connection.scratchUser, needsConsent: true, signal: context.signal };
  const ofCopy = await withSandbox(request, (sandbox) =>
    checkStarts(level, { connection, source, facts, sandbox, context }),
  );
  return ofCopy.length > 0 ? failed(ofCopy) : { reached: level, findings: [] };
}
