/** Cypher of one value of every property type that a Community 5 server stores, and of the values that are easily confused. */
const EVERY_VALUE = `{
  large: 9007199254740993, one: 1, oneAsFloat: 1.0, least: -9223372036854775808,
  nan: 0.0/0.0, infinite: 1.0/0.0, negativeZero: -0.0, zero: 0.0,
  text: 'ä𝄞"\\\\ \\u00a0', empty: '', flag: true,
  flat: point({x: 1.5, y: -0.0}), high: point({x: 1, y: 2, z: 3}),
  place: point({longitude: 12.5, latitude: -3}), aloft: point({longitude: 1, latitude: 2, height: 3}),
  day: date('2020-02-29'), localTime: localtime('12:00:00.123456789'), time: time('12:00:00+01:30'),
  local: localdatetime('-2020-01-01T00:00:00'),
  foldBefore: datetime('2024-10-27T02:30:00+02:00[Europe/Berlin]'),
  foldAfter: datetime('2024-10-27T02:30:00+01:00[Europe/Berlin]'),
  offset: datetime('2024-10-27T02:30:00.000000001+02:00'), duration: duration('P1Y2M3DT4.000000005S'),
  integers: [1, 2], floats: [1.0, 2.0], strings: ['a', ''], flags: [true, false], none: [],
  odd: [0.0/0.0, -0.0], points: [point({x: 1, y: 2})], days: [date('2020-01-01')],
  instants: [datetime('2024-10-27T02:30:00+02:00[Europe/Berlin]')], durations: [duration('PT1S')],
  bytes: $bytes, noBytes: $noBytes
}`;

const SCHEMA = [
  'CREATE CONSTRAINT person_id FOR (p:Person) REQUIRE p.id IS UNIQUE',
  'CREATE CONSTRAINT knows_key FOR ()-[r:KNOWS]-() REQUIRE r.key IS UNIQUE',
  'CREATE INDEX person_name FOR (p:Person) ON (p.name, p.age)',
  'CREATE TEXT INDEX person_mail FOR (p:Person) ON (p.mail)',
  'CREATE POINT INDEX person_place FOR (p:Person) ON (p.place)',
  'CREATE FULLTEXT INDEX person_words FOR (p:Person) ON EACH [p.mail, p.name]',
  'CREATE INDEX knows_weight FOR ()-[r:KNOWS]-() ON (r.weight)',
  "CREATE VECTOR INDEX person_vector FOR (p:Person) ON (p.vector) OPTIONS {indexConfig: {`vector.dimensions`: 3, `vector.similarity_function`: 'cosine'}}",
];

/** Labels and types whose names need care in a query: a backtick, a backslash with an escape, a space, a line break. */
export const HOSTILE_NAMES = ['a`b', 'a\\u0060b', 'two words', 'line\nbreak', '``', 'quote\'"', '\\'];

interface QueryRunner {
  query(cypher: string, parameters?: Record<string, unknown>): Promise<Record<string, unknown>[]>;
}

export interface SeededGraph {
  readonly nodes: number;
  readonly relationships: number;
}

/**
 * Fills the database `neo4j` with a graph of every property type, hostile names, every kind of index and constraint of Community, and
 * `persons` people (1,000 by default) who know each other. Resolves when all indexes are online.
 */
export async function seedGraph(server: QueryRunner, persons = 1_000): Promise<SeededGraph> {
  for (const statement of SCHEMA) await server.query(statement);
  const bytes = { bytes: new Int8Array([0, -1, 127]), noBytes: new Int8Array([]) };
  await server.query(`CREATE (a:Every ${EVERY_VALUE})-[:EVERY ${EVERY_VALUE}]->(:Every:Second)`, bytes);
  for (const name of HOSTILE_NAMES) {
    // The parser replaces an escape of Unicode before it reads a name.
    const quoted = `\`${name.replaceAll('\\', '\\u005c').replaceAll('`', '``')}\``;
    await server.query(`CREATE (:${quoted} {${quoted}: 1})-[:${quoted} {${quoted}: 'x'}]->(:Plain)`);
  }
  await server.query(
    `UNWIND range(1, $persons) AS i
     CREATE (:Person {id: i, name: 'n' + i, age: i % 90, mail: 'p' + i + '@example.org', vector: [toFloat(i), 1.0, 2.0],
       bio: toString(i) + ' words that do not fit into the record of a property',
       place: point({longitude: (i % 360) - 180, latitude: (i % 180) - 90})})`,
    { persons },
  );
  await server.query(
    `MATCH (a:Person) MATCH (b:Person {id: a.id % $persons + 1}) CREATE (a)-[:KNOWS {key: a.id, weight: a.id * 0.5}]->(b)`,
    { persons },
  );
  await server.query('CALL db.awaitIndexes(120)');
  const count = async (cypher: string): Promise<number> => Number((await server.query(cypher))[0]?.['count']);
  return {
    nodes: await count('MATCH (n) RETURN count(n) AS count'),
    relationships: await count('MATCH ()-[r]->() RETURN count(r) AS count'),
  };
}
