import { hash } from 'node:crypto';
import type { BoltSession, Row } from './bolt-session.ts';
import { encodeProperties, valueEncoder } from './value-encoding.ts';

const MASK = (1n << 128n) - 1n;

export interface IndexFacts {
  readonly name: string;
  readonly type: string;
  readonly entityType: string;
  readonly labelsOrTypes: readonly string[];
  readonly properties: readonly string[];
  readonly owningConstraint: string | null;
  readonly state: string;
}
export interface ConstraintFacts {
  readonly name: string;
  readonly type: string;
  readonly entityType: string;
  readonly labelsOrTypes: readonly string[];
  readonly properties: readonly string[];
}
/** What a graph contains: enough to see that a restored one is the same. */
export interface GraphFingerprint {
  readonly nodes: number;
  readonly relationships: number;
  /** Nodes per label. */
  readonly labels: Readonly<Record<string, number>>;
  /** Relationships per type. */
  readonly types: Readonly<Record<string, number>>;
  readonly indexes: readonly IndexFacts[];
  readonly constraints: readonly ConstraintFacts[];
  /** Order-free digests of all nodes and all relationships, with their ids, labels, types and properties; null when only counted. */
  readonly digests: { readonly nodes: string; readonly relationships: string } | null;
}

const textsOf = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
const textOrNull = (value: unknown): string | null => (typeof value === 'string' ? value : null);

/**
 * Reads the fingerprint of one database. With `digests` every node and relationship is read: about 15 µs each, in constant memory. Only
 * a database that nobody writes to has one fingerprint.
 */
export async function readFingerprint(
  session: BoltSession,
  database: string,
  options: { readonly digests: boolean; readonly queryMs: number },
): Promise<GraphFingerprint> {
  const rows = (cypher: string): Promise<Row[]> => session.rows(database, cypher, {}, options.queryMs);
  const count = async (cypher: string): Promise<number> => Number((await rows(cypher))[0]?.['count']);
  const countEach = async (names: Row[], cypher: (quoted: string) => string): Promise<Record<string, number>> => {
    const counts: [string, number][] = [];
    for (const { name } of names) {
      const found = await count(cypher(quoteName(String(name))));
      // Neo4j keeps the name of a label after the last node with it is gone.
      if (found > 0) counts.push([String(name), found]);
    }
    return Object.fromEntries(counts.toSorted(([a], [b]) => compareTexts(a, b)));
  };
  return {
    nodes: await count('MATCH (n) RETURN count(n) AS count'),
    relationships: await count('MATCH ()-[r]->() RETURN count(r) AS count'),
    labels: await countEach(
      await rows('CALL db.labels() YIELD label RETURN label AS name'),
      (label) => `MATCH (n:${label}) RETURN count(n) AS count`,
    ),
    types: await countEach(
      await rows('CALL db.relationshipTypes() YIELD relationshipType AS name RETURN name'),
      (type) => `MATCH ()-[r:${type}]->() RETURN count(r) AS count`,
    ),
    indexes: await readIndexes(rows),
    constraints: await readConstraints(rows),
    digests: options.digests ? await readDigests(session, database, options.queryMs) : null,
  };
}

const compareTexts = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byName = (a: { name: string }, b: { name: string }): number => compareTexts(a.name, b.name);

/** A name in backticks. The parser replaces escapes of Unicode before it reads names, so that a backslash is written as one. */
export const quoteName = (name: string): string => `\`${name.replaceAll('\\', '\\u005c').replaceAll('`', '``')}\``;

async function readIndexes(rows: (cypher: string) => Promise<Row[]>): Promise<IndexFacts[]> {
  const found = await rows(
    'SHOW INDEXES YIELD name, type, entityType, labelsOrTypes, properties, owningConstraint, state',
  );
  return found
    .map((row) => ({
      ...schemaFacts(row),
      owningConstraint: textOrNull(row['owningConstraint']),
      state: String(row['state']),
    }))
    .toSorted(byName);
}

async function readConstraints(rows: (cypher: string) => Promise<Row[]>): Promise<ConstraintFacts[]> {
  const found = await rows('SHOW CONSTRAINTS YIELD name, type, entityType, labelsOrTypes, properties');
  return found.map(schemaFacts).toSorted(byName);
}

const schemaFacts = (row: Row): ConstraintFacts => ({
  name: String(row['name']),
  type: String(row['type']),
  entityType: String(row['entityType']),
  labelsOrTypes: textsOf(row['labelsOrTypes']),
  properties: textsOf(row['properties']),
});

/** Ids are the same in a dump and in a copy; `elementId` holds the id of the database, which a restore may change. */
async function readDigests(
  session: BoltSession,
  database: string,
  queryMs: number,
): Promise<{ nodes: string; relationships: string }> {
  const encode = valueEncoder((await import('neo4j-driver-lite')).default);
  const keys = await session.rows(database, 'CALL db.propertyKeys() YIELD propertyKey', {}, queryMs);
  // The driver loses a property of this name: pairs carry it. They cost more, and only this name needs them.
  const asPairs = keys.some(({ propertyKey }) => propertyKey === '__proto__');
  const propertiesOf = (entity: string): string =>
    asPairs ? `[key IN keys(${entity}) | [key, ${entity}[key]]]` : `properties(${entity})`;
  const pairsOf = (properties: unknown): [string, unknown][] =>
    (asPairs ? properties : Object.entries(properties as Row)) as [string, unknown][];
  const nodes = new OrderFreeDigest();
  await session.stream(
    database,
    `MATCH (n) RETURN id(n) AS id, labels(n) AS labels, ${propertiesOf('n')} AS properties`,
    ({ id, labels, properties }) => {
      const names = textsOf(labels)
        .toSorted()
        .map((label) => `${label.length}:${label}`);
      nodes.add(`${String(id)}|${names.join('')}|${encodeProperties(pairsOf(properties), encode)}`);
    },
  );
  const relationships = new OrderFreeDigest();
  await session.stream(
    database,
    `MATCH (a)-[r]->(b) RETURN id(r) AS id, id(a) AS start, id(b) AS end, type(r) AS type, ${propertiesOf('r')} AS properties`,
    ({ id, start, end, type, properties }) => {
      const ends = [id, start, end].map(String).join();
      const name = String(type);
      relationships.add(`${ends}|${name.length}:${name}|${encodeProperties(pairsOf(properties), encode)}`);
    },
  );
  return { nodes: nodes.digest(), relationships: relationships.digest() };
}

/** The sum modulo 2^128 of one SHA-256 per entry, and their number: changed by a lost, added, doubled or altered entry. */
class OrderFreeDigest {
  #sum = 0n;
  #count = 0;
  add(entry: string): void {
    const bytes = hash('sha256', entry, 'buffer');
    this.#sum = (this.#sum + ((bytes.readBigUInt64BE(0) << 64n) | bytes.readBigUInt64BE(8))) & MASK;
    this.#count += 1;
  }
  digest(): string {
    return `${this.#count}:${this.#sum.toString(16).padStart(32, '0')}`;
  }
}

export type FingerprintDifference =
  | { readonly code: 'node-count' | 'relationship-count'; readonly expected: number; readonly found: number }
  | {
      readonly code: 'label-count' | 'type-count';
      readonly name: string;
      readonly expected: number;
      readonly found: number;
    }
  | {
      readonly code: 'index-missing' | 'index-unexpected' | 'index-changed' | 'index-not-online';
      readonly name: string;
    }
  | { readonly code: 'constraint-missing' | 'constraint-unexpected' | 'constraint-changed'; readonly name: string }
  | { readonly code: 'node-digest' | 'relationship-digest' };

/** How a graph differs from what its backup recorded. Digests are compared when both have them. */
export function compareFingerprints(expected: GraphFingerprint, found: GraphFingerprint): FingerprintDifference[] {
  const differences: FingerprintDifference[] = [];
  if (expected.nodes !== found.nodes)
    differences.push({ code: 'node-count', expected: expected.nodes, found: found.nodes });
  if (expected.relationships !== found.relationships)
    differences.push({ code: 'relationship-count', expected: expected.relationships, found: found.relationships });
  for (const [code, wanted, counted] of [
    ['label-count', expected.labels, found.labels],
    ['type-count', expected.types, found.types],
  ] as const)
    for (const name of new Set([...Object.keys(wanted), ...Object.keys(counted)])) {
      const [before, after] = [countOf(wanted, name), countOf(counted, name)];
      if (before !== after) differences.push({ code, name, expected: before, found: after });
    }
  differences.push(...compareSchema('index', expected.indexes.map(withoutState), found.indexes.map(withoutState)));
  // An index that had failed in the source has failed in its copy as well.
  const online = new Set(expected.indexes.filter(({ state }) => state === 'ONLINE').map(({ name }) => name));
  for (const { name, state } of found.indexes)
    if (state !== 'ONLINE' && online.has(name)) differences.push({ code: 'index-not-online', name });
  differences.push(...compareSchema('constraint', expected.constraints, found.constraints));
  if (expected.digests !== null && found.digests !== null) {
    if (expected.digests.nodes !== found.digests.nodes) differences.push({ code: 'node-digest' });
    if (expected.digests.relationships !== found.digests.relationships)
      differences.push({ code: 'relationship-digest' });
  }
  return differences;
}

/** A label may have the name of a property that every object inherits. */
const countOf = (counts: Readonly<Record<string, number>>, name: string): number =>
  Object.hasOwn(counts, name) ? (counts[name] ?? 0) : 0;

const withoutState = ({ state: _, ...index }: IndexFacts): Omit<IndexFacts, 'state'> => index;

function compareSchema(
  kind: 'index' | 'constraint',
  expected: readonly { readonly name: string }[],
  found: readonly { readonly name: string }[],
): FingerprintDifference[] {
  const present = new Map(found.map((item) => [item.name, JSON.stringify(item)]));
  const wanted = new Set(expected.map(({ name }) => name));
  return [
    ...expected.flatMap((item): FingerprintDifference[] => {
      const { name } = item;
      if (!present.has(name)) return [{ code: `${kind}-missing`, name }];
      return present.get(name) === JSON.stringify(item) ? [] : [{ code: `${kind}-changed`, name }];
    }),
    ...found
      .filter(({ name }) => !wanted.has(name))
      .map(({ name }): FingerprintDifference => ({ code: `${kind}-unexpected`, name })),
  ];
}
