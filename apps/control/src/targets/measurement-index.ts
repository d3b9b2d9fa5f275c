import { MIN_SAMPLE_BYTES, type RestoreMeasurement, type RestoreSubject } from '@lastgood/core/objectives';

/** The newest measurements of one engine and method that are kept for the whole fleet; more than an estimate compares. */
const KEPT = 20;

/** Where the measurements come from that a restore is compared with. */
export interface Measurements {
  relevantTo(subject: Omit<RestoreSubject, 'bytes'>): readonly RestoreMeasurement[];
}

/** The measurements of the fleet, with those of one target as they are now. */
export const withOwnMeasurements = (fleet: Measurements, own: readonly RestoreMeasurement[]): Measurements => ({
  relevantTo: (subject) => {
    const { environment, host, target } = subject;
    const isOwn = (one: RestoreMeasurement): boolean =>
      one.environment === environment && one.host === host && one.target === target;
    return [...own, ...fleet.relevantTo(subject).filter((one) => !isOwn(one))];
  },
});

/** The restore measurements of a fleet, so that a target is compared with few of them instead of all. */
export class MeasurementIndex implements Measurements {
  readonly #ofHost: ReadonlyMap<string, readonly RestoreMeasurement[]>;
  /** The newest of each engine and method that measure a speed. */
  readonly #ofMethod: ReadonlyMap<string, readonly RestoreMeasurement[]>;

  constructor(measurements: readonly RestoreMeasurement[]) {
    this.#ofHost = Map.groupBy(measurements, ({ environment, host }) => `${environment}/${host}`);
    const speeds = measurements.filter(({ bytes, durationMs }) => bytes >= MIN_SAMPLE_BYTES && durationMs > 0);
    const byMethod = Map.groupBy(speeds, ({ engine, method }) => `${engine}/${method}`);
    this.#ofMethod = new Map(
      [...byMethod].map(([key, all]) => [key, all.toSorted((a, b) => b.atMs - a.atMs).slice(0, KEPT)]),
    );
  }

  /** Those of the host, and the newest of the same engine and method in the fleet. */
  relevantTo({ environment, host, engine, method }: Omit<RestoreSubject, 'bytes'>): readonly RestoreMeasurement[] {
    const own = this.#ofHost.get(`${environment}/${host}`) ?? [];
    return [...own, ...(this.#ofMethod.get(`${engine}/${method}`) ?? [])];
  }
}
