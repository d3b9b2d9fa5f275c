import { join } from 'node:path';
import {
  type ArtifactSource,
  type EngineContext,
  Failure,
  type RestoreTestLimits,
  type VerifyOutcome,
} from '@lastgood/core';
import { runTool } from '@lastgood/host';
import { type Manifest, makeFinding, type VerificationFinding, type VerificationLevel } from '@lastgood/protocol';
import { artifactsOf, databasesOf, globalsOf } from './artifacts.ts';
import { PHYSICAL } from './backup-methods.ts';
import type { PostgresConnection } from './connection-schema.ts';
import { countDataEntries } from './dump.ts';
import { toolFailure } from './messages/tool-failure.ts';
import { ToolMessages } from './messages/tool-messages.ts';
import { prepareRestoreTest, type RestoreTest, testRestore } from './restore-test.ts';
import { findTools, parseVersion, type ToolFolder } from './tools.ts';
import { findingsOf } from './verification-verdict.ts';

const DAY_MS = 86_400_000;

/** Level 2: every artifact decodes to its end, and the dump through its own tool. */
async function checkDecodes(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const object of source.manifest.objects.filter((candidate) => candidate.role === 'dump')) {
    context.progress({ phase: 'decode', doneBytes: 0, totalBytes: object.produced.size });
    findings.push(
      ...(await findingsOf(2, object.name, async () => {
        const file = join(tools.path, 'pg_restore');
        const messages = new ToolMessages({ untranslated: true });
        await runTool({
          file,
          args: ['--file=/dev/null'],
          stdin: source.open(object, context.signal),
          signal: context.signal,
          timeoutMs: 7 * DAY_MS,
          stallMs,
          redactStderr: messages.take,
        }).catch((error: unknown) => {
          throw toolFailure(error, { file, report: messages.report, logFolder: null });
        });
      })),
    );
  }
  for (const database of databasesOf(source))
    findings.push(
      ...(await findingsOf(2, null, async () => void (await artifactsOf(source, database, context.signal)))),
    );
  let globals = '';
  const unreadable = await findingsOf(2, null, async () => {
    globals = await globalsOf(source, context.signal);
  });
  findings.push(...unreadable);
  if (unreadable.length === 0 && !/CREATE ROLE/.test(globals))
    findings.push({ level: 2, object: null, ...makeFinding('GLOBALS_WITHOUT_ROLES', null) });
  return findings;
}

/** Level 3: the archive's own table of contents holds what the fingerprint names. */
async function checkContents(
  source: ArtifactSource,
  tools: ToolFolder,
  stallMs: number,
  context: EngineContext,
): Promise<VerificationFinding[]> {
  const findings: VerificationFinding[] = [];
  for (const database of databasesOf(source)) {
    const { dump, fingerprint } = await artifactsOf(source, database, context.signal);
    let listed = 0;
    const unlisted = await findingsOf(3, dump.name, async () => {
      listed = await countDataEntries(tools, source.open(dump, context.signal), context.signal, stallMs);
    });
    findings.push(...unlisted);
    const expected = fingerprint.tables.filter((table) => table.rows !== '0').length;
    if (unlisted.length > 0 || listed >= expected) continue;
    const fewer = makeFinding('DUMP_LISTS_FEWER_TABLES', { kind: 'database', name: database }, { listed, expected });
    findings.push({ level: 3, object: dump.name, ...fewer });
  }
  return findings;
}

/** BAD_INPUT for level 6 of a backup without digests: which does not make the backup bad. */
export function checkLevel(level: VerificationLevel, manifest: Manifest): void {
  if (level === 6 && manifest.method === PHYSICAL.method)
    throw new Failure('BAD_INPUT', 'a physical backup has no digests to compare with: level 5 is the highest', {
      remedy: 'Verify to level 5.',
    });
  if (level === 6 && manifest.engineFacts['digests'] !== true)
    throw new Failure('BAD_INPUT', 'the backup was taken without digests: its contents cannot be compared (level 6)', {
      remedy: 'Verify to level 5, or take a backup with --digests.',
    });
}

/** Levels 2 to 6; each includes those below it. Stops at the first level that found something, for the levels above would show nothing more. */
export async function verify(
  level: VerificationLevel,
  connection: PostgresConnection,
  limits: RestoreTestLimits,
  source: ArtifactSource,
  context: EngineContext,
): Promise<VerifyOutcome> {
  if (level < 2) return { reached: level, findings: [] };
  checkLevel(level, source.manifest);
  const { server, tool } = source.manifest;
  // A dump is read by tools of its own version or a newer one.
  const major = Math.max(parseVersion(server.version).major, parseVersion(tool.version).major);
  const tools = await findTools(connection.binDir, context.signal, major);
  const test: RestoreTest | null =
    level < 4 ? null : await prepareRestoreTest({ limits, source, connection, tools, context });
  const steps: readonly (readonly [VerificationLevel, () => Promise<VerificationFinding[]>])[] = [
    [2, () => checkDecodes(source, tools, connection.stallMs, context)],
    [3, () => checkContents(source, tools, connection.stallMs, context)],
    ...(test === null ? [] : [[level, () => testRestore(level, test)] as const]),
  ];
  const remarks = test?.remarks ?? [];
  let reached: VerificationLevel = 1;
  for (const [step, check] of steps) {
    if (step > level) break;
    const findings = await check();
    if (findings.length > 0) {
      const before = Math.min(...findings.map((found) => found.level - 1), step) as VerificationLevel;
      return { reached: before, findings, remarks };
    }
    reached = step;
  }
  return { reached, findings: [], remarks };
}
