import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { AofSet } from './aof-set.ts';
import { type AofFileReport, judgeAofFile } from './aof-walker.ts';
import { waitForAofWrites } from './aof-writes.ts';
import { AOF, CONTENT } from './backup-method.ts';
import { toFinding } from './catalog-findings.ts';
import { FanOut } from './fan-out.ts';
import { waitingClockOf } from './open-server.ts';
import { SCRATCH_FILES } from './scratch-server.ts';
import { aofFolderOf, type ServerFiles, serverFilesOf } from './server-files.ts';
import { type BackupRun, storeWithDigests, type TakenBackup } from './taken-backup.ts';

const WRITES_WITHIN_MS = 10_000;

interface CopiedSet {
  readonly reports: readonly AofFileReport[];
  readonly bytes: number;
}

function filesOf({ connection, server }: BackupRun): ServerFiles {
  const { facts } = server;
  if (!connection.fileAccess)
    throw new Failure('BAD_INPUT', 'append-only files cannot be backed up without access to them', {
      remedy: 'Back up by the method rdb, or set fileAccess in the connection of the target.',
    });
  if (!facts.isAofEnabled)
    throw new Failure('BAD_INPUT', 'the server writes no append-only files (appendonly no)', {
      remedy: 'Back up by the method rdb, or set appendonly to yes on the server.',
    });
  const files = serverFilesOf(facts.settings, connection.dataDir);
  if (files !== null) return files;
  throw new Failure('DATABASE_REFUSED', 'the agent may not ask the server where its files are', {
    remedy: 'Grant +config|get to the ACL user of the agent.',
  });
}

/** Stores the files of the set and its manifest. `copyTo`: a data folder that gets the same files. */
async function storeSet({ sink, context }: BackupRun, set: AofSet, copyTo: string | null): Promise<CopiedSet> {
  const { signal } = context;
  const folder = copyTo === null ? null : join(copyTo, SCRATCH_FILES.appendFolder);
  if (folder !== null) await mkdir(folder, { mode: 0o700 });
  const members: { name: string; object: string }[] = [];
  const reports: AofFileReport[] = [];
  let bytes = 0;
  for (const member of set.members) {
    const { name } = member.entry;
    const object = await sink.add({ role: AOF.method, contents: CONTENT.name, extension: 'aof' }, async (out) => {
      const copy = folder === null ? null : createWriteStream(join(folder, name), { flags: 'wx', mode: 0o600 });
      reports.push(await set.copy(member, copy === null ? out : new FanOut([out, copy]), signal));
    });
    members.push({ name, object: object.name });
    bytes += member.bytes;
    context.progress({ phase: 'dump', doneBytes: bytes, totalBytes: null });
  }
  const manifest = set.manifest();
  const stored = Buffer.from(`${JSON.stringify({ manifest, members })}\n`);
  await sink.add({ role: 'aof-manifest', contents: CONTENT.name, extension: 'json' }, (out) =>
    pipeline(Readable.from([stored]), out),
  );
  if (folder !== null)
    await writeFile(join(folder, `${SCRATCH_FILES.appendFilename}.manifest`), manifest, { mode: 0o600 });
  return { reports, bytes };
}

/** Stores the append-only files of the server as they are at one moment. Nothing is paused. */
export async function takeAof(run: BackupRun): Promise<TakenBackup> {
  const { server, context } = run;
  const { signal } = context;
  const files = filesOf(run);
  const clock = waitingClockOf(context);
  const recoveryPoint = await waitForAofWrites(server.session, { clock, signal, timeoutMs: WRITES_WITHIN_MS });
  await using set = await AofSet.open(aofFolderOf(files), signal);
  const { value, fingerprint } = run.digests
    ? await storeWithDigests(run, 'aof', async (dataDir) => ({
        value: await storeSet(run, set, dataDir),
        snapshotAt: recoveryPoint,
      }))
    : { value: await storeSet(run, set, null), fingerprint: null };
  const [base] = value.reports;
  const findings = value.reports.flatMap(judgeAofFile);
  const codes = new Set(findings.map(({ code }) => code));
  return {
    recoveryPoint,
    bytes: value.bytes,
    tool: 'append-only files',
    fingerprint,
    databases: null,
    rdb: base?.rdb ?? null,
    warnings: [...codes]
      .flatMap((code) => findings.filter((found) => found.code === code).slice(0, 1))
      .map((found) => toFinding(found)),
  };
}
