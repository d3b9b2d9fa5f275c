import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createServiceControl, resolveService } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { startNeo4j, startNeo4jService, temporaryFolder, testLimits } from '@lastgood/testkit';
import { describeEngine, type EngineSubject } from '@lastgood/testkit/conformance';
import { DUMP, listManagedStores, neo4j } from '../src/neo4j/index.ts';
import { openFolder, storeOfServer } from './support/neo4j-lab.ts';

async function openSubject(): Promise<EngineSubject> {
  await using cleanup = new AsyncDisposableStack();
  const { path: folder } = cleanup.use(await temporaryFolder());
  const scratch = cleanup.use(await openFolder()).path;
  const server = cleanup.use(await startNeo4j());
  await server.stop();
  const service = cleanup.use(await startNeo4jService(server));
  const wrongFile = join(folder, 'wrong');
  await writeFile(wrongFile, 'wrong', { mode: 0o600 });
  const connection = { ...server.connection, scratch: { folder: scratch, heapMb: 256, pageCacheMb: 64 } };
  const control = createServiceControl(resolveService(service.commands, {}));
  const owned = cleanup.move();
  return {
    connection,
    wrongSecret: { ...connection, passwordFile: wrongFile },
    services: { target: 'graph', service: control, restoreFolders: {}, restoreTests: testLimits },
    method: DUMP.method,
    // The server is stopped while the repository is written to.
    options: { digests: true, way: 'stop-dump-start' },
    highest: 6,
    contents: ['neo4j', 'system'],
    restores: [
      {
        name: 'swap',
        request: (backupId) => ({
          scope: { kind: 'database', database: 'neo4j' },
          point: { kind: 'backup', backupId },
          into: { way: 'swap' },
          options: {},
        }),
      },
    ],
    fill: async (generation) => {
      await service.query('MATCH (n) DETACH DELETE n');
      await service.query('UNWIND range(1, 200) AS i CREATE (:Data {generation: $generation, i: i})', { generation });
    },
    served: async () => {
      const rows = await service.query('MATCH (n:Data) RETURN n.generation AS generation, count(n) AS count');
      return rows.map(({ generation, count }) => `${String(generation)}: ${String(count)}`).join(', ');
    },
    stop: () => service.stop(),
    start: () => service.start(),
    leftovers: async () => {
      const stores = await listManagedStores(storeOfServer(server));
      const copies = await readdir(join(server.dataFolder, 'lastgood')).catch(() => []);
      return [...stores.filter((name) => name.startsWith('lastgood-new-')), ...copies, ...(await readdir(scratch))];
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

describeEngine('dump of Neo4j', {
  definition: neo4j,
  open: openSubject,
  timeoutMs: 600_000,
  openRepository: async (path) => await createFolderRepository({ understood: [DUMP], path }),
});
