import { once } from 'node:events';
import { chmod, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { freePort, HOSTILE_NAMES, type Neo4jServer, seedGraph, startNeo4j, temporaryFolder } from '@lastgood/testkit';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  BoltSession,
  type BoltTarget,
  boltReadiness,
  boltTargetOf,
  compareFingerprints,
  type GraphFingerprint,
  listPlugins,
  neo4jConnectionSchema,
  pingBolt,
  readFingerprint,
  readServerFacts,
  transactionOf,
} from '../src/neo4j/index.ts';
import { codeOf, never, targetOf } from './support/neo4j-lab.ts';

const QUERY_MS = 120_000;
let server: Neo4jServer;
let target: BoltTarget;
let graph: { nodes: number; relationships: number };

beforeAll(async () => {
  server = await startNeo4j({ settings: { 'server.jvm.additional': '-Djavax.net.ssl.keyStorePassword=hunter2' } });
  target = await targetOf(server);
  graph = await seedGraph(server, 300);
});
afterAll(() => server[Symbol.asyncDispose]());

const fingerprint = async (digests = true): Promise<GraphFingerprint> => {
  await using session = await BoltSession.open(target, never);
  return await readFingerprint(session, 'neo4j', { digests, queryMs: QUERY_MS });
};

describe('sessions', () => {
  test('cannot write', async () => {
    await using session = await BoltSession.open(target, never);
    const write = session.rows('neo4j', 'CREATE (n:Written) RETURN n', {}, QUERY_MS);
    expect(await codeOf(write)).toBe('TOOL_FAILED');
    expect(await server.query('MATCH (n:Written) RETURN n')).toEqual([]);
  });

  test('report errors of the server by status code, without its text', async () => {
    await using session = await BoltSession.open(target, never);
    const failing = session.rows('neo4j', "RETURN toInteger(date('secret value'))", {}, QUERY_MS);
    const error = await failing.then(
      () => undefined,
      (thrown: Error) => thrown,
    );
    expect(error?.message).toMatch(/^cannot read database "neo4j": Neo\.ClientError\.[\w.]+$/);
    expect(await codeOf(session.rows('nosuch', 'RETURN 1', {}, QUERY_MS))).toBe('NOT_FOUND');
  });

  test('end a query after its time, and at once when the signal aborts', async () => {
    const abort = new AbortController();
    const session = await BoltSession.open(target, abort.signal);
    const endless = 'UNWIND range(1, 100000000000) AS x RETURN count(x)';
    expect(await codeOf(session.rows('neo4j', endless, {}, 300))).toBe('TOOL_FAILED');
    const reading = session.rows('neo4j', endless, {}, 60_000);
    const reason = new Error('canceled');
    abort.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await session[Symbol.asyncDispose]();
  });

  test('distinguish a wrong password, a closed port, another service, a port without answer and a missing login', async () => {
    const login = { user: 'neo4j', password: 'wrong' };
    expect(await codeOf(BoltSession.open({ ...target, login }, never))).toBe('DATABASE_REFUSED');
    expect(await codeOf(BoltSession.open({ ...target, login: null }, never))).toBe('DATABASE_REFUSED');
    const closed = await freePort();
    await expect(BoltSession.open({ ...target, port: closed }, never)).rejects.toMatchObject({
      code: 'DATABASE_UNREACHABLE',
      message: `cannot connect to 127.0.0.1:${closed}: refused`,
    });
    expect(await pingBolt('127.0.0.1', server.port, 30_000, never)).toBe('bolt');
    const other = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(0, '127.0.0.1');
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await Promise.all([once(other, 'listening'), once(silent, 'listening')]);
    const portOf = (service: typeof other): number => (service.address() as { port: number }).port;
    expect(await pingBolt('127.0.0.1', portOf(other), 5_000, never)).toBe('not-bolt');
    expect(await pingBolt('127.0.0.1', portOf(silent), 100, never)).toBe('unreachable');
    const isReady = (port: number): Promise<boolean> => boltReadiness({ host: '127.0.0.1', port })(never);
    expect([await isReady(server.port), await isReady(closed)]).toEqual([true, false]);
    expect(await codeOf(isReady(portOf(other)))).toBe('DATABASE_UNREACHABLE');
    other.close();
    silent.close();
  });

  test('read the password from a file that only its owner can read', async () => {
    await using folder = await temporaryFolder();
    const passwordFile = join(folder.path, 'password');
    const connection = neo4jConnectionSchema.parse({ ...server.connection, passwordFile });
    expect(await codeOf(boltTargetOf(connection))).toBe('CONFIG_INVALID');
    await writeFile(passwordFile, `${server.password}\n`, { mode: 0o600 });
    expect((await boltTargetOf(connection)).login).toEqual({ user: 'neo4j', password: server.password });
    await chmod(passwordFile, 0o644);
    expect(await codeOf(boltTargetOf(connection))).toBe('DATA_FOLDER_UNSAFE');
  });
});

describe('server facts', () => {
  test('name version, edition, databases, stores and the last committed transaction', async () => {
    await using session = await BoltSession.open(target, never);
    const facts = await readServerFacts(session, QUERY_MS);
    expect(facts).toMatchObject({ version: '5.26.30', edition: 'community' });
    expect(facts.databases).toMatchObject([
      { name: 'neo4j', type: 'standard', status: 'online', isDefault: true, storeFormat: 'record-aligned-1.1' },
      { name: 'system', type: 'system', status: 'online', isDefault: false, storeFormat: 'record-aligned-1.1' },
    ]);
    const [before] = facts.databases;
    await server.query('CREATE (n:Counted) DELETE n');
    const [after] = (await readServerFacts(session, QUERY_MS)).databases;
    expect((after?.lastTransaction ?? 0) - (before?.lastTransaction ?? 0)).toBeGreaterThanOrEqual(1);
    expect(before?.storeId).toMatch(/^[0-9A-F]{64}$/);
  });

  test('record settings without values that may hold a secret', async () => {
    await using session = await BoltSession.open(target, never);
    const { settings } = await readServerFacts(session, QUERY_MS);
    expect(settings['server.directories.data']).toBe(server.dataFolder);
    expect(settings['server.memory.pagecache.size']).toBe('64.00MiB');
    expect(settings['server.jvm.additional']).toBeNull();
    expect(JSON.stringify(settings)).not.toContain('hunter2');
  });

  test('list the plugins by name, size and hash', async () => {
    await writeFile(join(server.pluginsFolder, 'graph-tools-1.2.3.jar'), 'jar');
    await writeFile(join(server.pluginsFolder, 'README.txt'), 'text');
    expect(await listPlugins(server.pluginsFolder)).toEqual([
      {
        name: 'graph-tools-1.2.3.jar',
        bytes: 3,
        sha256: '0163f1eea7894350060624d315234d40c508ab251ba121714e234503045faadd',
      },
    ]);
    expect(await listPlugins(join(server.home, 'nosuch'))).toEqual([]);
  });

  test('read the transaction of a bookmark in every width, and nothing from another layout', () => {
    const bookmark = (number: string): string[] => [
      `FB:${Buffer.from(`91cc10${'ab'.repeat(16)}${number}90`, 'hex').toString('base64')}`,
    ];
    expect(['03', 'c83f', 'c9009b', 'ca00012345', 'cb0000000100000000'].map((n) => transactionOf(bookmark(n)))).toEqual(
      [3, 63, 155, 0x12345, 0x100000000],
    );
    expect([transactionOf([]), transactionOf(['other:abc']), transactionOf(bookmark('d0'))]).toEqual([
      null,
      null,
      null,
    ]);
  });
});

describe('fingerprints', () => {
  test('count nodes, relationships, labels and types, also those with hostile names', async () => {
    const found = await fingerprint();
    expect([found.nodes, found.relationships]).toEqual([graph.nodes, graph.relationships]);
    expect(found.labels).toMatchObject({ Person: 300, Every: 2, Second: 1, Plain: HOSTILE_NAMES.length });
    for (const name of HOSTILE_NAMES) expect([found.labels[name], found.types[name]], name).toEqual([1, 1]);
    expect(found.constraints.map(({ name, type }) => [name, type])).toEqual([
      ['knows_key', 'RELATIONSHIP_UNIQUENESS'],
      ['person_id', 'UNIQUENESS'],
    ]);
    expect(found.indexes.filter(({ state }) => state !== 'ONLINE')).toEqual([]);
    expect(new Set(found.indexes.map(({ type }) => type))).toEqual(
      new Set(['FULLTEXT', 'LOOKUP', 'POINT', 'RANGE', 'TEXT', 'VECTOR']),
    );
    expect(await fingerprint()).toEqual(found);
  });

  test('see every change of a value that a count does not see', async () => {
    const before = await fingerprint();
    const changes = [
      ['one = 1.0', 'one = 1'],
      ['zero = -0.0', 'zero = 0.0'],
      ['large = 9007199254740992', 'large = 9007199254740993'],
      [
        "foldBefore = datetime('2024-10-27T02:30:00+01:00[Europe/Berlin]')",
        "foldBefore = datetime('2024-10-27T02:30:00+02:00[Europe/Berlin]')",
      ],
      [
        "offset = datetime('2024-10-27T00:30:00.000000001Z')",
        "offset = datetime('2024-10-27T02:30:00.000000001+02:00')",
      ],
      ["duration = duration('P1Y2M4DT4.000000005S')", "duration = duration('P1Y2M3DT4.000000005S')"],
      ['place = point({x: 12.5, y: -3})', 'place = point({longitude: 12.5, latitude: -3})'],
      ['odd = [0.0/0.0, 0.0]', 'odd = [0.0/0.0, -0.0]'],
      ['flags = [false, true]', 'flags = [true, false]'],
      ['empty = null', "empty = ''"],
    ];
    for (const [change = '', back = ''] of changes) {
      const [name = ''] = change.split(' ');
      // Setting an equal value (0.0 and -0.0 are) changes nothing: the old one is removed first.
      for (const value of [`${name} = null`, change]) await server.query(`MATCH (n:Every {flag: true}) SET n.${value}`);
      expect(compareFingerprints(before, await fingerprint()), change).toEqual([{ code: 'node-digest' }]);
      for (const value of [`${name} = null`, back]) await server.query(`MATCH (n:Every {flag: true}) SET n.${value}`);
    }
    await server.query('MATCH ()-[r:KNOWS {key: 7}]->() SET r.weight = 8.5');
    expect(compareFingerprints(before, await fingerprint())).toEqual([{ code: 'relationship-digest' }]);
    await server.query('MATCH ()-[r:KNOWS {key: 7}]->() SET r.weight = 3.5');
    expect(compareFingerprints(before, await fingerprint())).toEqual([]);
  });

  test('see a property with a name that the driver loses', async () => {
    const before = await fingerprint();
    const create = async (value: number): Promise<void> => {
      await server.query('MERGE (n:Proto) SET n = $map', { map: { visible: 1 } });
      await server.query(`MATCH (n:Proto) SET n.\`__proto__\` = ${value}`);
    };
    await create(1);
    const first = await fingerprint();
    expect(first.labels['Proto']).toBe(1);
    await create(2);
    expect(compareFingerprints(first, await fingerprint())).toEqual([{ code: 'node-digest' }]);
    await server.query('MATCH (n:Proto) DELETE n');
    expect(compareFingerprints(before, await fingerprint())).toEqual([]);
  });

  test('name what differs in counts, indexes and constraints', async () => {
    const before = await fingerprint(false);
    await server.query('DROP INDEX person_name');
    await server.query('CREATE INDEX person_name FOR (p:Person) ON (p.name)');
    await server.query('DROP CONSTRAINT knows_key');
    await server.query('CREATE TEXT INDEX added FOR (p:Person) ON (p.bio)');
    await server.query('CREATE (:constructor)-[:`a``b`]->(:Plain)');
    await server.query('CALL db.awaitIndexes(60)');
    expect(compareFingerprints(before, await fingerprint(false))).toEqual([
      { code: 'node-count', expected: graph.nodes, found: graph.nodes + 2 },
      { code: 'relationship-count', expected: graph.relationships, found: graph.relationships + 1 },
      { code: 'label-count', name: 'Plain', expected: HOSTILE_NAMES.length, found: HOSTILE_NAMES.length + 1 },
      { code: 'label-count', name: 'constructor', expected: 0, found: 1 },
      { code: 'type-count', name: 'a`b', expected: 1, found: 2 },
      { code: 'index-missing', name: 'knows_key' },
      { code: 'index-changed', name: 'person_name' },
      { code: 'index-unexpected', name: 'added' },
      { code: 'constraint-missing', name: 'knows_key' },
    ]);
  });
});
