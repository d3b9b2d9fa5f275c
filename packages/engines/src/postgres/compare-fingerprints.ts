import { type Finding, makeFinding } from '@lastgood/protocol';
import type { Fingerprint } from './fingerprint.ts';

export interface Difference {
  /** 5 = counts and names, 6 = contents. */
  readonly level: 5 | 6;
  readonly finding: Finding;
}

interface Named {
  readonly schema: string;
  readonly name: string;
}
const keyOf = ({ schema, name }: Named): string => JSON.stringify([schema, name]);
const nameOf = ({ schema, name }: Named): string => `${schema}.${name}`;
const counts = (finding: Finding): Difference => ({ level: 5, finding });
const contents = (finding: Finding): Difference => ({ level: 6, finding });

function compareTables({ database, tables }: Fingerprint, found: Fingerprint): Difference[] {
  const about = (table: Named) => ({ kind: 'table', name: nameOf(table) }) as const;
  const restored = new Map(found.tables.map((table) => [keyOf(table), table]));
  const differences = tables.flatMap((table) => {
    const other = restored.get(keyOf(table));
    restored.delete(keyOf(table));
    if (other === undefined) return [counts(makeFinding('TABLE_MISSING', about(table), { database }))];
    if (table.derived || other.derived) return [];
    const rows = { rows: other.rows, expected: table.rows };
    if (other.rows !== table.rows)
      return [counts(makeFinding('TABLE_ROWS_DIFFER', about(table), { database, ...rows }))];
    return table.digest !== null && other.digest !== null && table.digest !== other.digest
      ? [contents(makeFinding('TABLE_CONTENTS_DIFFER', about(table), { database }))]
      : [];
  });
  const unknown = [...restored.values()];
  return [
    ...differences,
    ...unknown.map((table) => counts(makeFinding('TABLE_NOT_IN_SOURCE', about(table), { database }))),
  ];
}

function compareSequences({ database, sequences }: Fingerprint, found: Fingerprint): Difference[] {
  const values = new Map(found.sequences.map((sequence) => [keyOf(sequence), sequence]));
  return sequences.flatMap((sequence) => {
    const other = values.get(keyOf(sequence));
    const subject = { kind: 'sequence', name: nameOf(sequence) } as const;
    const { least, most, called } = sequence;
    if (other === undefined) return [counts(makeFinding('SEQUENCE_MISSING', subject, { database }))];
    if (BigInt(other.least) < BigInt(least) || BigInt(other.most) > BigInt(most)) {
      const position = { value: other.least, least, most };
      return [counts(makeFinding('SEQUENCE_POSITION_DIFFERS', subject, { database, ...position }))];
    }
    if (called === null || least !== most || other.called === called) return [];
    return [counts(makeFinding(called ? 'SEQUENCE_REPEATS_VALUE' : 'SEQUENCE_SKIPS_VALUE', subject, { database }))];
  });
}

function compareLargeObjects({ database, largeObjects }: Fingerprint, found: Fingerprint): Difference[] {
  const { count, digest } = found.largeObjects;
  const expected = largeObjects.count;
  if (expected !== count)
    return [counts(makeFinding('LARGE_OBJECTS_COUNT_DIFFERS', null, { database, count, expected }))];
  return largeObjects.digest !== null && digest !== null && largeObjects.digest !== digest
    ? [contents(makeFinding('LARGE_OBJECTS_CONTENTS_DIFFER', null, { database }))]
    : [];
}

/** How a restored database differs from the fingerprint of its source; empty when it equals it as far as was measured. */
export function compareFingerprints(source: Fingerprint, found: Fingerprint): Difference[] {
  const { database } = source;
  const extensions = new Set(found.extensions.map(({ name }) => name));
  const missing = source.extensions.filter(({ name }) => !extensions.has(name));
  return [
    ...compareTables(source, found),
    ...compareSequences(source, found),
    ...compareLargeObjects(source, found),
    ...missing.map(({ name }) =>
      counts(makeFinding('EXTENSION_NOT_RESTORED', { kind: 'extension', name }, { database })),
    ),
  ];
}
