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
  /** The address, or how the process ended before it had one. */
  readonly url: string | null;
  readonly stderr: () => string;
  readonly kill: (signal: NodeJS.Signals) => Promise<number | null>;
}

/** Starts the control plane as a process, when asked under strace, and waits until it is up or gone. */
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
      // Under strace it is the process below that has to go; the lock names it.
      const pid = inject === undefined ? child.pid : Number(await holderOf(dataDir));
      if (pid !== undefined && child.exitCode === null) process.kill(pid, signal);
      const [code] = (await ended) as [number | null];
      return code;
    },
  };
}

/** The process that the lock of a data folder names. */
async function holderOf(dataDir: string): Promise<string> {
  return /process (\d+) /.exec(await readFile(join(dataDir, 'lock'), 'utf8'))?.[1] ?? 'nobody';
}

function inspect(dataDir: string): { integrity: unknown; migrations: unknown; incarnations: unknown } {
  const sqlite = new Database(join(dataDir, 'catalog.sqlite'), { readonly: true });
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
    const broken = await start(dataDir, `inject=${call}:signal=KILL:when=${point}`);
    if (broken.url === null) killed += 1;
    else await broken.kill('SIGKILL');
    const again = await start(dataDir);
    expect({ point, url: again.url, stderr: again.url === null ? again.stderr() : '' }).toMatchObject({
      url: expect.stringMatching(/^http/),
    });
    await again.kill('SIGKILL');
    expect({ point, ...inspect(dataDir) }).toEqual({ point, integrity: 'ok', migrations: MIGRATIONS, incarnations: 1 });
    await rm(dataDir, { recursive: true });
    // Beyond the last write of the start there is nothing more to cut.
    if (broken.url !== null) break;
  }
  return killed;
}

test.skipIf(strace !== '')(
  `C2: killed at any write or sync of the first migration, the next start migrates to the end (${strace || 'strace'})`,
  async () => {
    await using folder = await temporaryFolder();
    const fresh = async (): Promise<void> => undefined;
    expect(await sweep(folder.path, 'pwrite64', [1, 2, 3, 5, 8, 13, 21, 34, 42, 50, 60], fresh)).toBeGreaterThan(5);
    expect(await sweep(folder.path, 'fsync,fdatasync', [1, 2, 3, 4, 5, 6], fresh)).toBeGreaterThan(1);
  },
);

test('C1: SIGKILL loses nothing that was acknowledged, however often', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  const acknowledged = new Set<string>();
  for (let round = 0; round < 5; round += 1) {
    const control = await start(dataDir);
    const admin = await adminClient(control.url ?? '', join(dataDir, 'admin.token'));
    const known = new Set((await admin.tokens.query()).map(({ id }) => id));
    for (const id of acknowledged) expect(known).toContain(id);
    let killing: Promise<unknown> | undefined;
    const one = async (n: number): Promise<void> => {
      const made = await admin.createToken
        .mutate({ name: `round ${round} ${n}`, scope: 'read', expiresInHours: 1 })
        .catch(() => undefined);
      if (made !== undefined) acknowledged.add(made.view.id);
      // In the midst of calls that are on their way.
      if (n === 30) killing = control.kill('SIGKILL');
    };
    await Promise.all(
      Array.from({ length: 4 }, async (_, lane) => {
        for (let n = lane; n < 60; n += 4) await one(n);
      }),
    );
    await killing;
  }
  expect(acknowledged.size).toBeGreaterThan(100);
  expect(inspect(dataDir).integrity).toBe('ok');
  // Each has its record of the same commit.
  const sqlite = new Database(join(dataDir, 'catalog.sqlite'), { readonly: true });
  const orphans = sqlite
    .prepare(`select count(*) from tokens t where not exists (select 1 from audit a where a.detail like t.id || '%')`)
    .pluck()
    .get();
  sqlite.close();
  expect(orphans).toBe(0);
});

test.skipIf(disk.path === null)(
  `C1, B1: a power cut loses nothing that was acknowledged${disk.reason === null ? '' : ` (${disk.reason})`}`,
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
          const made = await admin.createToken
            .mutate({ name, scope: 'read', expiresInHours: 1 })
            .catch(() => undefined);
          // What is answered while the power goes may not have reached the disk.
          if (made !== undefined && cutting === undefined) acknowledged.add(made.view.id);
          if (acknowledged.size >= known.size - 1 + calls) cutting ??= disk.cut();
        }
      };
      // The very first cut comes once the address is known and before anything else was asked for.
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

test('a second process on the same data folder is refused with the pid of the first, which goes on', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'control');
  const first = await start(dataDir);
  const second = await start(dataDir);
  expect(second.url).toBeNull();
  expect(second.stderr()).toContain('ALREADY_RUNNING');
  expect(second.stderr()).toContain(await holderOf(dataDir));
  expect((await fetch(`${first.url}/healthz`)).status).toBe(200);
  // Killed, its lock is taken over; asked to end, it ends with 0.
  await first.kill('SIGKILL');
  const third = await start(dataDir);
  expect(third.url).not.toBeNull();
  expect(await third.kill('SIGTERM')).toBe(0);
});

test.skipIf(strace !== '')(
  `C1: every acknowledged change is behind a sync of the log (${strace || 'strace'})`,
  async () => {
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
  },
);
