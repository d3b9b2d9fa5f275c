import { Failure } from '@lastgood/core';
import type neo4j from 'neo4j-driver-lite';

type Driver = Pick<
  typeof neo4j,
  'isPoint' | 'isDate' | 'isLocalTime' | 'isTime' | 'isLocalDateTime' | 'isDateTime' | 'isDuration'
>;

const lengthPrefixed = (text: string): string => `${text.length}:${text}`;

function encodeFloat(value: number): string {
  const bytes = Buffer.alloc(8);
  // There are many bit patterns of NaN, and they are one value.
  bytes.writeDoubleBE(Number.isNaN(value) ? Number.NaN : value);
  return `D${bytes.toString('hex')}`;
}

/**
 * Returns a function that writes a property value as text, such that two values have the same text exactly when a Cypher query can not
 * tell them apart: integers are not floats, -0.0 is not 0.0, and both sides of a change to winter time are distinct. An empty list has
 * no type of its elements. Expects a driver with `useBigInt`.
 */
export function valueEncoder(driver: Driver): (value: unknown) => string {
  const encodeStructure = (value: object): string => {
    if (driver.isPoint(value)) {
      const axes = [value.x, value.y, ...(value.z === undefined ? [] : [value.z])];
      return `P${String(value.srid)}(${axes.map((axis) => encodeFloat(Number(axis))).join()})`;
    }
    if (driver.isDate(value)) return `d${value.year}-${value.month}-${value.day}`;
    if (driver.isLocalTime(value)) return `l${clock(value)}`;
    if (driver.isTime(value)) return `t${clock(value)}z${value.timeZoneOffsetSeconds}`;
    if (driver.isLocalDateTime(value)) return `c${value.year}-${value.month}-${value.day}T${clock(value)}`;
    if (driver.isDateTime(value))
      return `w${value.year}-${value.month}-${value.day}T${clock(value)}z${value.timeZoneOffsetSeconds}[${value.timeZoneId ?? ''}]`;
    if (driver.isDuration(value)) return `u${value.months},${value.days},${value.seconds},${value.nanoseconds}`;
    throw new Failure('TOOL_FAILED', 'a property has a type that this version of Lastgood does not know');
  };
  const encode = (value: unknown): string => {
    switch (typeof value) {
      case 'bigint':
        return `I${value}`;
      case 'number':
        return encodeFloat(value);
      case 'string':
        return `S${lengthPrefixed(value)}`;
      case 'boolean':
        return value ? 'T' : 'F';
      default:
    }
    if (value === null || value === undefined) return 'N';
    if (Array.isArray(value)) return `L${value.length}[${value.map(encode).join()}]`;
    if (value instanceof Int8Array || value instanceof Uint8Array)
      return `B${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex')}`;
    return encodeStructure(value);
  };
  return encode;
}

type Field = bigint | number | { toString(): string };
const clock = ({
  hour,
  minute,
  second,
  nanosecond,
}: Readonly<Record<'hour' | 'minute' | 'second' | 'nanosecond', Field>>) => `${hour}:${minute}:${second}.${nanosecond}`;

/** The properties of a node or relationship, in the order of their names. */
export function encodeProperties(
  properties: readonly (readonly [string, unknown])[],
  encode: (value: unknown) => string,
): string {
  return properties
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${lengthPrefixed(name)}=${encode(value)}`)
    .join('|');
}
