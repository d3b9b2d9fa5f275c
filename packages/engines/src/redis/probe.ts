import { readFile } from 'node:fs/promises';
import { type Engine, type EngineContext, Failure, failedProbe } from '@lastgood/core';
import { CONTENT } from './backup-method.ts';
import { toFinding } from './catalog-findings.ts';
import type { RedisConnection } from './connection-schema.ts';
import { openServer, systemIdOf } from './open-server.ts';
import { checkPersistence, type HostMemory } from './persistence-checks.ts';
import { availableMemory } from './scratch-host.ts';
import type { ServerFacts } from './server-facts.ts';
import { serverFilesOf } from './server-files.ts';
import { listSetAside, type SetAside } from './set-aside.ts';

const LOOPBACK = /^(?:localhost|127\.\d+\.\d+\.\d+|::1)$/;
const isLocal = ({ host, socket }: RedisConnection): boolean => socket !== undefined || LOOPBACK.test(host ?? '');

/** The memory of the host of the server; unknown when that is not this host. */
async function readHostMemory(connection: RedisConnection): Promise<HostMemory> {
  if (!isLocal(connection)) return { availableBytes: null, overcommit: null };
  const text = await readFile('/proc/sys/vm/overcommit_memory', 'utf8').catch(() => undefined);
  return { availableBytes: await availableMemory(), overcommit: text === undefined ? null : Number(text) };
}

/** Null when the agent cannot see the files of the server. */
async function findSetAside(connection: RedisConnection, { settings }: ServerFacts): Promise<SetAside[] | null> {
  const files = connection.fileAccess ? serverFilesOf(settings, connection.dataDir) : null;
  if (files === null) return null;
  return await listSetAside(files).catch((error: unknown) => {
    if (error instanceof Failure) return null;
    throw error;
  });
}

/** The state of the server with the findings about its persistence. An unreachable server is a state. */
export async function probe(connection: RedisConnection, context: EngineContext): ReturnType<Engine['probe']> {
  try {
    await using server = await openServer(connection, context.signal);
    const { facts } = server;
    const persistence = checkPersistence(facts, await readHostMemory(connection));
    const setAside = await findSetAside(connection, facts);
    return {
      state: 'ok',
      version: facts.version,
      systemId: systemIdOf(facts),
      sizeBytes: facts.memory.usedBytes,
      databases: [{ name: CONTENT.name, sizeBytes: facts.memory.usedBytes }],
      ...(setAside === null ? {} : { setAside }),
      findings: persistence.map((found) => toFinding(found)),
    };
  } catch (error) {
    return failedProbe(error);
  }
}
