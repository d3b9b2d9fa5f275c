import { type Engine, type EngineContext, Failure, failedProbe, type Identified } from '@lastgood/core';
import { type Finding, findingOfError, makeFinding } from '@lastgood/protocol';
import { BoltSession, boltTargetOf } from './bolt-session.ts';
import { findRuntime } from './install-paths.ts';
import { type DatabaseFacts, readServerFacts, type ServerFacts } from './server-facts.ts';
import { listSetAside, setAsideFinding } from './set-aside.ts';
import { measureStore } from './store-copy.ts';
import { systemIdOf } from './system-id.ts';
import { type Neo4jTarget, storeContextOf } from './target.ts';

type Probed = Awaited<ReturnType<Engine['probe']>>;

async function readFacts({ connection }: Neo4jTarget, signal: AbortSignal): Promise<ServerFacts> {
  await using session = await BoltSession.open(await boltTargetOf(connection), signal);
  return await readServerFacts(session, connection.queryMs);
}

/** Returns the id of the server, and the databases that a backup of everything holds. */
export async function identify(target: Neo4jTarget, { signal }: EngineContext): Promise<Identified> {
  const facts = await readFacts(target, signal);
  const contents = facts.databases.filter(({ status }) => status === 'online').map(({ name }) => name);
  return { systemId: systemIdOf(facts), contents };
}

/** Reads the state of the server, and what prevents backups. */
export async function probe(target: Neo4jTarget, { signal }: EngineContext): Promise<Probed> {
  try {
    const facts = await readFacts(target, signal);
    const databases: { name: string; sizeBytes: number }[] = [];
    for (const { name } of facts.databases)
      databases.push({ name, sizeBytes: (await measureStore(target.paths.store, name)).bytes });
    const setAside = await listSetAside(target);
    return {
      state: 'ok',
      version: facts.version,
      systemId: systemIdOf(facts),
      sizeBytes: databases.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
      databases,
      setAside,
      findings: [
        ...(target.service === null ? [makeFinding('SERVICE_NOT_NAMED', null)] : []),
        ...facts.databases.filter(({ status }) => status !== 'online').map(reportOffline),
        ...(await hostFindings(target, signal)),
        ...setAside.map(setAsideFinding),
      ],
    };
  } catch (error) {
    return failedProbe(error);
  }
}

const reportOffline = ({ name, status }: DatabaseFacts): Finding =>
  makeFinding('DATABASE_OFFLINE', { kind: 'database', name }, { status });

/** What the host lacks for the tools of Neo4j, or for reading the store. */
async function hostFindings(target: Neo4jTarget, signal: AbortSignal): Promise<Finding[]> {
  try {
    await findRuntime(target.connection);
    await storeContextOf(target, signal);
    return [];
  } catch (error) {
    if (error instanceof Failure) return [findingOfError(error.wireError, null)];
    throw error;
  }
}
