import { expect, test } from 'vitest';
import { readLoadState, seedGraph, startNeo4j, startWriteLoad } from '../src/index.ts';

test('a throw-away Neo4j holds every property type, keeps its data over a kill, and carries a write load', async () => {
  await using server = await startNeo4j();
  const { nodes, relationships } = await seedGraph(server, 50);
  expect([nodes, relationships]).toEqual([66, 58]);
  const load = await startWriteLoad(server);
  await load.progress(20);
  const acknowledged = await load.stop();
  const read = (): ReturnType<typeof readLoadState> => readLoadState((cypher) => server.query(cypher));
  const expected = { sum: 0, writers: acknowledged.map((last) => ({ entries: last, last })) };
  await server.kill();
  await server.start();
  expect(await read()).toEqual(expected);
});
