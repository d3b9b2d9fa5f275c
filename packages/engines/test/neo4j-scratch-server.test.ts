import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withSandbox } from '@lastgood/host';
import { neo4jPrograms, type TemporaryFolder, testLimits, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  BoltSession,
  makeScratchStore,
  readFingerprint,
  type ScratchOptions,
  startScratchServer,
  sweepToolHomes,
} from '../src/neo4j/index.ts';
import { codeOf, never, openFolder, processesUnder, TOOL_MS } from './support/neo4j-lab.ts';
import { plainSandbox } from './support/plain-sandbox.ts';

const QUERY_MS = 120_000;
const CHILD = join(import.meta.dirname, 'support', 'neo4j-scratch-child.ts');
const programs = neo4jPrograms();
let scratch: TemporaryFolder;
let plain: ScratchOptions;

beforeAll(async () => {
  scratch = await openFolder();
  plain = {
    runtime: { ...programs, heapMb: 256, pageCacheMb: 64, threads: 1 },
    scratchFolder: scratch.path,
    sandbox: await plainSandbox(),
    signal: never,
  };
});
afterAll(() => scratch[Symbol.asyncDispose]());

const request = { limits: testLimits, scratchUser: 'nobody', needsConsent: true, signal: never };
/** The Java of the server: its sandbox and relay name the folder as well. */
async function serverUnder(path: string): Promise<number> {
  const found: number[] = [];
  for (const pid of await processesUnder(path))
    if ((await readlink(`/proc/${pid}/exe`).catch(() => '')).endsWith('/java')) found.push(pid);
  expect(found).toHaveLength(1);
  return found[0] ?? 0;
}

test('serves a database to its own password alone, in a sandbox, and is gone with its files afterwards', async () => {
  await withSandbox(request, async (sandbox) => {
    const options = { ...plain, sandbox };
    await using store = await makeScratchStore(options);
    await using server = await startScratchServer(store, 'shop', TOOL_MS, options);
    expect(await server.waitUntilMounted(TOOL_MS)).toBe('online');
    await using session = await BoltSession.open(server.bolt, never);
    const { nodes } = await readFingerprint(session, 'shop', { digests: true, queryMs: QUERY_MS });
    expect(nodes).toBe(0);
    for (const login of [null, { user: 'neo4j', password: 'neo4j' }])
      expect(await codeOf(BoltSession.open({ ...server.bolt, login }, never))).toBe('DATABASE_REFUSED');
    const pid = await serverUnder(scratch.path);
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    expect(Number(/^Uid:\s+(\d+)/m.exec(status)?.[1])).toBe(sandbox.user?.uid ?? process.getuid?.());
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(server.bolt.login?.password);
    await server[Symbol.asyncDispose]();
    expect(await processesUnder(scratch.path)).toEqual([]);
  });
  expect(await readdir(scratch.path)).toEqual([]);
});

test('reports a database that cannot be mounted, although the server itself starts', async () => {
  const options = plain;
  await using store = await makeScratchStore(options);
  {
    await using server = await startScratchServer(store, 'neo4j', TOOL_MS, options);
    await server.waitUntilMounted(TOOL_MS);
  }
  await rm(join(store.folders.data, 'databases', 'neo4j', 'neostore.nodestore.db'));
  await writeFile(join(store.folders.data, 'databases', 'neo4j', 'neostore'), 'damaged');
  await using server = await startScratchServer(store, 'neo4j', TOOL_MS, options);
  expect(await server.waitUntilMounted(TOOL_MS)).toBe('failed');
});

test('a server that does not start is a failure, and leaves nothing', async () => {
  const broken = { ...plain, runtime: { ...plain.runtime, libFolder: scratch.path } };
  {
    await using store = await makeScratchStore(broken);
    expect(await codeOf(startScratchServer(store, 'neo4j', TOOL_MS, broken))).toBe('DATABASE_UNREACHABLE');
  }
  expect(await readdir(scratch.path)).toEqual([]);
});

test('dies with a killed agent, and its folders are swept', async () => {
  const { java, libFolder, classArchive } = programs;
  const agent = spawn(process.execPath, [CHILD, scratch.path, java, libFolder, classArchive ?? ''], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(agent.stdout, 'data');
  const homes = await readdir(scratch.path);
  expect(homes).toHaveLength(2);
  expect(await sweepToolHomes(scratch.path)).toEqual([]);
  agent.kill('SIGKILL');
  await once(agent, 'exit');
  await waitFor('the end of the server', TOOL_MS, never, async () =>
    (await processesUnder(scratch.path)).length === 0 ? true : undefined,
  );
  expect((await sweepToolHomes(scratch.path)).toSorted()).toEqual(
    homes.map((name) => `scratch folder ${name}`).toSorted(),
  );
  expect(await readdir(scratch.path)).toEqual([]);
});
