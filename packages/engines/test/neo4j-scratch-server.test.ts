import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { captureTool } from '@lastgood/host';
import { neo4jPrograms, type TemporaryFolder, waitFor } from '@lastgood/testkit';
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

const QUERY_MS = 120_000;
const CHILD = join(import.meta.dirname, 'support', 'neo4j-scratch-child.ts');
const programs = neo4jPrograms();
let scratch: TemporaryFolder;
let options: ScratchOptions;

beforeAll(async () => {
  scratch = await openFolder();
  const id = async (flag: string): Promise<number> =>
    Number((await captureTool({ file: 'id', args: [flag, 'nobody'], signal: never, timeoutMs: 10_000 })).stdout);
  options = {
    runtime: { ...programs, heapMb: 256, pageCacheMb: 64, threads: 1 },
    scratchFolder: scratch.path,
    user: process.getuid?.() === 0 ? { uid: await id('-u'), gid: await id('-g') } : undefined,
    signal: never,
  };
});
afterAll(() => scratch[Symbol.asyncDispose]());

test('serves a database to its own password alone, as an unprivileged user, and is gone with its files afterwards', async () => {
  {
    await using store = await makeScratchStore(options);
    await using server = await startScratchServer(store, 'shop', TOOL_MS, options);
    expect(await server.waitUntilMounted(TOOL_MS)).toBe('online');
    await using session = await BoltSession.open(server.bolt, never);
    const { nodes } = await readFingerprint(session, 'shop', { digests: true, queryMs: QUERY_MS });
    expect(nodes).toBe(0);
    for (const login of [null, { user: 'neo4j', password: 'neo4j' }])
      expect(await codeOf(BoltSession.open({ ...server.bolt, login }, never))).toBe('DATABASE_REFUSED');
    const [pid = 0] = await processesUnder(scratch.path);
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    expect(Number(/^Uid:\s+(\d+)/m.exec(status)?.[1])).toBe(options.user?.uid ?? process.getuid?.());
    expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(server.bolt.login?.password);
    await server[Symbol.asyncDispose]();
    expect(await processesUnder(scratch.path)).toEqual([]);
  }
  expect(await readdir(scratch.path)).toEqual([]);
});

test('reports a database that cannot be mounted, although the server itself starts', async () => {
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
  const broken = { ...options, runtime: { ...options.runtime, libFolder: scratch.path } };
  {
    await using store = await makeScratchStore(broken);
    expect(await codeOf(startScratchServer(store, 'neo4j', TOOL_MS, broken))).toBe('DATABASE_UNREACHABLE');
  }
  expect(await readdir(scratch.path)).toEqual([]);
});

test('dies with a killed agent, and its folders are swept', async () => {
  const { java, libFolder, classArchive } = programs;
  const user = options.user === undefined ? [] : [String(options.user.uid), String(options.user.gid)];
  const agent = spawn(process.execPath, [CHILD, scratch.path, java, libFolder, classArchive ?? '', ...user], {
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
