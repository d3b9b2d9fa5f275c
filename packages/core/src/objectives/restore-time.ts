import { medianOf } from '../median.ts';

/** One restore, restore test or drill that succeeded. */
export interface RestoreMeasurement {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly engine: string;
  readonly method: string;
  /** The database that was restored; null for a whole backup. */
  readonly content: string | null;
  /** What was restored, as produced: before compression and encryption. */
  readonly bytes: number;
  readonly durationMs: number;
  readonly atMs: number;
}

export type RestoreTime =
  | { readonly basis: 'measured'; readonly ms: number; readonly atMs: number }
  /** From the size of the backup and the speed of other restores: shown as an estimate. */
  | { readonly basis: 'estimated'; readonly ms: number }
  | { readonly basis: 'unknown' };

/** What a restore would have to restore now: the newest good backup of a target, or one database of it. */
export interface RestoreSubject {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly engine: string;
  readonly method: string;
  /** The database; null for the whole backup. */
  readonly content: string | null;
  readonly bytes: number;
}

/** Speeds of this many restores are compared, the newest ones. */
const SAMPLES = 5;
/** A few bytes measure how long a server takes to start, not how fast data is read. */
export const MIN_SAMPLE_BYTES = 1024 * 1024;

const newestFirst = (all: readonly RestoreMeasurement[]): RestoreMeasurement[] =>
  all.toSorted((a, b) => b.atMs - a.atMs);

/** The median speed in bytes per second; undefined without a usable measurement. */
function medianSpeed(all: readonly RestoreMeasurement[]): number | undefined {
  const speeds = newestFirst(all)
    .filter(({ bytes, durationMs }) => bytes >= MIN_SAMPLE_BYTES && durationMs > 0)
    .slice(0, SAMPLES)
    .map(({ bytes, durationMs }) => (bytes / durationMs) * 1000);
  return medianOf(speeds);
}

/**
 * How long a restore takes: as long as the last one of the same database (or whole target) did. Without one, estimated from the size in
 * the backup and the speed of the same engine and method on the same host, or else in the whole fleet.
 */
export function restoreTimeOf(subject: RestoreSubject, measurements: readonly RestoreMeasurement[]): RestoreTime {
  const onHost = measurements.filter(
    ({ environment, host }) => environment === subject.environment && host === subject.host,
  );
  const [own] = newestFirst(
    onHost.filter(({ target, content }) => target === subject.target && content === subject.content),
  );
  if (own !== undefined) return { basis: 'measured', ms: own.durationMs, atMs: own.atMs };
  const isSimilar = ({ engine, method }: RestoreMeasurement): boolean =>
    engine === subject.engine && method === subject.method;
  const speed = medianSpeed(onHost.filter(isSimilar)) ?? medianSpeed(measurements.filter(isSimilar));
  if (speed === undefined) return { basis: 'unknown' };
  return { basis: 'estimated', ms: Math.round((subject.bytes / speed) * 1000) };
}
