import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { adminClient, powerCutDisk, root, temporaryFolder } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { afterAll, expect, test } from 'vitest';

const main = join(root, 'apps/control/src/main.ts');
const MIGRATIONS = 1;
const cleanup = new AsyncDisposableStack();
const disk = cleanup.use(await powerCutDisk());
afterAll(() => cleanup.disposeAsync());

interface Started {
  /** Null when the process ended before it listened. */
  readonly url: string | null;
  readonly stderr: () => string;
  readonly kill: (signal: NodeJS.Signals) => Promise<number | null>;
}

/** Starts the control plane, under strace when `inject` is given, and waits until it listens or has ended. */
async function start(dataDir: string, inject?: string, output = '/dev/null'): Promise<Started> {
  const program = [main, '--data', dataDir, '--port', '0'];
  const file = join(dataDir, 'catalog.sqlite');
  const traced = ['-f', '-qq', '-o', output, ...[file, `${file}-wal`].flatMap((path) => ['-P', path])];
  const child =
    inject === undefined
      ? spawn(process.execPath, program, { stdio: ['ignore', 'ignore', 'pipe'] })
      : spawn('strace', [...traced, '-e', inject, process.execPath, ...program], {
          stdio: ['ignore', 'ignore', 'pipe'],
        });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const ended = once(child, 'close');
  const up = async (): Promise<string> => {
    for (;;) {
      const url = /"url":"([^"]+)"/.exec(stderr)?.[1];
      if (url !== undefined) return url;
      await delay(10);
    }
  };
  const url = await Promise.race([up(), ended.then(() => null)]);
  return {
    url,
    stderr: () => stderr,
    kill: async (signal) => {
      // Under strace, the signal must go to the child process. The lock file names it.
      const pid = inject === undefined ? child.pid : Number(await readLockHolder(dataDir));
      if (pid !== undefined && child.exitCode === null) process.kill(pid, signal);
      const [code] = (await ended) as [number | null];
      return code;
    },
  };
}

/** The process id in the lock file of a data folder. */
async function readLockHolder(dataDir: string): Promise<string> {
  return /process (\d+) /.exec(await readFile(join(dataDir, 'lock'), 'utf8'))?.[1] ?? 'none';
}

function inspect(dataDir: string): { integrity: unknown; migrations: unknown; incarnations: unknown } {
  // Not read-only: a reader cannot make the shared memory file, which a power cut may have taken with it.
  const sqlite = new Database(join(dataDir, 'catalog.sqlite'), { fileMustExist: true });
  try {
    return {
      integrity: sqlite.pragma('integrity_check', { simple: true }),
      migrations: sqlite.prepare('select count(*) from __drizzle_migrations').pluck().get(),
      incarnations: sqlite.prepare("select count(*) from meta where key = 'incarnation'").pluck().get(),
    };
  } finally {
    sqlite.close();
  }
}

const strace = ((): string => {
  try {
    execFileSync('strace', ['-V'], { stdio: 'ignore' });
    return '';
  } catch {
    return 'strace is not installed';
  }
})();

async function sweep(
  folder: string,
  call: string,
  points: readonly number[],
  prepare: (dataDir: string) => Promise<void>,
) {
  let killed = 0;
  for (const point of points) {
    const dataDir = join(folder, `${call}-${point}`);
    await prepare(dataDir);
    const interrupted = await start(dataDir, `inject=${call}:signal=KILL:when=${point}`);
    if (interrupted.url === null) killed += 1;
    else await interrupted.kill('SIGKILL');
    const restarted = await start(dataDir);
    expect({ point, url: restarted.url, stderr: restarted.url === null ? restarted.stderr() : '' }).toMatchObject({
      url: expect.stringMatching(/^http/),
    });
    await restarted.kill('SIGKILL');
    expect({ point, ...inspect(dataDir) }).toEqual({ point, integrity: 'ok', migrations: MIGRATIONS, incarnations: 1 });
    await rm(dataDir, { recursive: true });
    // The start made fewer calls than this: there are no further points.
    if (interrupted.url !== null) break;
  }
  return killed;
}

test.skipIf(strace !== '')(
  `C2: after SIGKILL at any write or sync of the first migration, the next start completes it (${strace || 'strace'})`,
  async () => {
    await using folder = await temporaryFolder();
    const noPreparation = async (): Promise<void> => undefined;
    expect(
      await sweep(folder.path, 'pwrite64', [1, 2, 3, 5, 8, 13, 21, 34, 42, 50, 60], noPreparation),
    ).toBeGreaterThan(5);
    expect(await sweep(folder.path, 'fsync,fdatasync', [1, 2, 3, 4, 5, 6], noPreparation)).toBeGreaterThan(1);
  },
);

test('C1: repeated SIGKILL loses no acknowledged change', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  const acknowledged = new Set<string>();
  for (let round = 0; round < 5; round += 1) {
    const control = await start(dataDir);
    const admin = await adminClient(control.url ?? '', join(dataDir, 'admin.token'));
    const known = new Set((await admin.tokens.query()).map(({ id }) => id));
    for (const id of acknowledged) expect(known).toContain(id);
    let killing: Promise<unknown> | undefined;
    const createToken = async (n: number): Promise<void> => {
      const created = await admin.createToken
        .mutate({ name: `round ${round} ${n}`, scope: 'read', expiresInHours: 1 })
        .catch(() => undefined);
      if (created !== undefined) acknowledged.add(created.view.id);
      // Kills while other calls are in progress.
      if (n === 30) killing = control.kill('SIGKILL');
    };
    await Promise.all(
      Array.from({ length: 4 }, async (_, lane) => {
        for (let n = lane; n < 60; n += 4) await createToken(n);
      }),
    );
    await killing;
  }
  expect(acknowledged.size).toBeGreaterThan(100);
  expect(inspect(dataDir).integrity).toBe('ok');
  // Each token has its audit record, written in the same transaction.
  const sqlite = new Database(join(dataDir, 'catalog.sqlite'), { readonly: true });
  const orphans = sqlite
    .prepare(`select count(*) from tokens t where not exists (select 1 from audit a where a.detail like t.id || '%')`)
    .pluck()
    .get();
  sqlite.close();
  expect(orphans).toBe(0);
});

test.skipIf(disk.path === null)(
  `C1, B1: a power cut loses no acknowledged change${disk.reason === null ? '' : ` (${disk.reason})`}`,
  async () => {
    if (disk.path === null) return;
    const dataDir = join(disk.path, 'control');
    const acknowledged = new Set<string>();
    for (const calls of [0, 1, 2, 5, 40, 120]) {
      const control = await start(dataDir);
      const admin = await adminClient(control.url ?? '', join(dataDir, 'admin.token'));
      const known = new Set((await admin.tokens.query()).map(({ id }) => id));
      for (const id of acknowledged) expect(known).toContain(id);
      let cutting: Promise<void> | undefined;
      const lane = async (): Promise<void> => {
        while (cutting === undefined) {
          const name = `token ${acknowledged.size}`;
          const created = await admin.createToken
            .mutate({ name, scope: 'read', expiresInHours: 1 })
            .catch(() => undefined);
          // A change that is acknowledged during the cut may not be on the disk.
          if (created !== undefined && cutting === undefined) acknowledged.add(created.view.id);
          if (acknowledged.size >= known.size - 1 + calls) cutting ??= disk.cut();
        }
      };
      // The first cut comes after the start and before any call.
      if (calls === 0) cutting = disk.cut();
      await Promise.all(Array.from({ length: 4 }, lane));
      await cutting;
      await control.kill('SIGKILL');
      await disk.mountAgain();
      expect(inspect(dataDir)).toEqual({ integrity: 'ok', migrations: MIGRATIONS, incarnations: 1 });
    }
    expect(acknowledged.size).toBeGreaterThan(100);
  },
);

test('a second process on the same data folder fails with the pid of the first, which keeps running', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  const first = await start(dataDir);
  const second = await start(dataDir);
  expect(second.url).toBeNull();
  expect(second.stderr()).toContain('ALREADY_RUNNING');
  expect(second.stderr()).toContain(await readLockHolder(dataDir));
  expect((await fetch(`${first.url}/healthz`)).status).toBe(200);
  // After SIGKILL the next process gets the lock. After SIGTERM it exits with 0.
  await first.kill('SIGKILL');
  const third = await start(dataDir);
  expect(third.url).not.toBeNull();
  expect(await third.kill('SIGTERM')).toBe(0);
});

test.skipIf(strace !== '')(`C1: syncs the log before it acknowledges a change (${strace || 'strace'})`, async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  await (await start(dataDir)).kill('SIGTERM');
  const calls = join(folder.path, 'calls');
  const traced = await start(dataDir, 'trace=fsync,fdatasync', calls);
  const admin = await adminClient(traced.url ?? '', join(dataDir, 'admin.token'));
  const syncs = async (): Promise<number> => (await readFile(calls, 'utf8')).split('\n').length;
  for (let n = 0; n < 5; n += 1) {
    const before = await syncs();
    await admin.createToken.mutate({ name: `t${n}`, scope: 'read', expiresInHours: 1 });
    expect(await syncs()).toBeGreaterThan(before);
  }
  await traced.kill('SIGKILL');
});
