/** An instant in microseconds since 1970 (UTC): PostgreSQL compares the times of commits to the microsecond. */
export type Micros = bigint;

/** PostgreSQL counts from 2000. */
const POSTGRES_EPOCH: Micros = 946_684_800_000_000n;
const PATTERN = /^(\d{4}-\d{2}-\d{2})[T ](\d{2}:\d{2})(?::(\d{2})(?:\.(\d{1,6}))?)?\s?(Z|[+-]\d{2}(?::?\d{2})?)?$/i;

export const fromPostgresTime = (micros: bigint): Micros => micros + POSTGRES_EPOCH;
export const toPostgresTime = (instant: Micros): bigint => instant - POSTGRES_EPOCH;
export const microsOfMs = (ms: number): Micros => BigInt(Math.trunc(ms)) * 1_000n;

export type ParsedInstant =
  | { readonly kind: 'instant'; readonly instant: Micros }
  /** A local time without offset: a server and an operator would read it differently. */
  | { readonly kind: 'no-offset' }
  | { readonly kind: 'invalid' };

/** Reads a time with an explicit offset, such as `2026-11-30 14:05:00.25+01` or `2026-11-30T13:05Z`. */
export function parseInstant(text: string): ParsedInstant {
  const [, date, minutes, seconds = '00', fraction = '', zone] = PATTERN.exec(text.trim()) ?? [];
  if (date === undefined || minutes === undefined) return { kind: 'invalid' };
  const ms = Date.parse(`${date}T${minutes}:${seconds}Z`);
  // Date.parse accepts February 30 and gives March 2.
  if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(date)) return { kind: 'invalid' };
  if (zone === undefined) return { kind: 'no-offset' };
  const offset = offsetMinutes(zone);
  if (offset === null) return { kind: 'invalid' };
  return { kind: 'instant', instant: BigInt(ms - offset * 60_000) * 1_000n + BigInt(fraction.padEnd(6, '0')) };
}

function offsetMinutes(zone: string): number | null {
  if (/^z$/i.test(zone)) return 0;
  const [, sign, hours, minutes = '00'] = /^([+-])(\d{2}):?(\d{2})?$/.exec(zone) ?? [];
  const total = Number(hours) * 60 + Number(minutes);
  if (Number(minutes) > 59 || total > 15 * 60 + 59) return null;
  return sign === '-' ? -total : total;
}

/** Writes an instant in UTC with its offset, as PostgreSQL and JavaScript read it. */
export function formatInstant(instant: Micros): string {
  const micros = ((instant % 1_000_000n) + 1_000_000n) % 1_000_000n;
  const seconds = new Date(Number((instant - micros) / 1_000n)).toISOString().slice(0, 19);
  return `${seconds}.${micros.toString().padStart(6, '0')}Z`;
}
