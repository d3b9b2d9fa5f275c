import { Bug, type CheckKind, type CheckOutcome } from '@lastgood/core';
import { databaseNameSchema, type Finding, makeFinding } from '@lastgood/protocol';
import { z } from 'zod';
import { BoltSession, boltTargetOf } from './bolt-session.ts';
import type { Neo4jConnection } from './connection-schema.ts';

const QUERY_MS = 60_000;
const least = z.int().min(0).default(1);

const graphSchema = z.strictObject({
  database: databaseNameSchema.default('neo4j'),
  nodes: least.describe('The least number of nodes; 1 when absent.'),
  relationships: z.int().min(0).default(0).describe('The least number of relationships; 0 when absent.'),
});

export const neo4jChecks: readonly CheckKind[] = [
  { name: 'graph', description: 'The graph can be read and has nodes and relationships.', optionsSchema: graphSchema },
];

/** Runs a check in a session of its own. Throws what the server or the way to it has failed with. */
export async function runNeo4jCheck(
  connection: Neo4jConnection,
  kind: string,
  options: unknown,
  signal: AbortSignal,
): Promise<CheckOutcome> {
  if (kind !== 'graph') throw new Bug(`no check "${kind}"`);
  const wanted = graphSchema.parse(options);
  await using session = await BoltSession.open(await boltTargetOf(connection), signal);
  const count = async (pattern: string): Promise<number> => {
    const [row] = await session.rows(wanted.database, `MATCH ${pattern} RETURN count(*) AS found`, {}, QUERY_MS);
    return Number(row?.['found'] ?? 0);
  };
  const found = [
    { what: 'nodes', found: await count('(n)'), least: wanted.nodes },
    { what: 'relationships', found: await count('()-[r]->()'), least: wanted.relationships },
  ];
  const findings: Finding[] = found
    .filter((each) => each.found < each.least)
    .map((each) => makeFinding('CHECK_TOO_FEW', { kind: 'database', name: wanted.database }, each));
  const details = found.map((each) => ({ label: each.what, value: each.found, unit: 'count' as const }));
  return { findings, details };
}
