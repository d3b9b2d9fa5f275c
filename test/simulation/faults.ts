/** How often what goes wrong, per step (crashes also per step inside a handler). */
export interface Faults {
  readonly name: string;
  readonly steps: number;
  readonly agents: number;
  readonly crash: number;
  readonly innerCrash: number;
  readonly cut: number;
  readonly loss: number;
  readonly hold: number;
  readonly redial: number;
  readonly clock: number;
  readonly rollback: number;
  readonly restore: number;
  /** What an agent has said on a connection is held back while its host is set back. */
  readonly calamity: number;
  /** How often an agent forgets ended jobs; 0 where a catalog may be restored from a copy older than them. */
  readonly forget: number;
  /** How long after its end, at least, a job is forgotten. */
  readonly forgetAfterMs: number;
  /** How many of the seeds have schedules. What only commands do would be rare if all had. */
  readonly schedules: number;
}
/** Crashes and a bad network; hosts and catalog keep what they have committed. */
export const ordinary: Faults = {
  name: 'ordinary',
  steps: 350,
  agents: 2,
  crash: 0.01,
  innerCrash: 0.01,
  cut: 0.02,
  loss: 0.01,
  hold: 0.02,
  redial: 0.01,
  clock: 0.01,
  rollback: 0,
  restore: 0,
  calamity: 0,
  forget: 0.3,
  forgetAfterMs: 30_000,
  schedules: 0.5,
};
/** Also hosts set back to snapshots and a catalog restored from copies. */
export const disasters: Faults = { ...ordinary, name: 'disasters', rollback: 0.006, restore: 0.004, forget: 0 };
export const rollbacks: Faults = { ...ordinary, name: 'rollbacks', rollback: 0.01 };
/** Old connections speak up long after they were given up, often after their host was set back. */
export const zombies: Faults = { ...disasters, name: 'zombies', hold: 0.04, redial: 0.02, calamity: 0.005 };
