import type { Link } from './network.ts';
import type { Judge } from './oracle.ts';
import type { Parts } from './protocol-under-test.ts';
import type { Random } from './random.ts';

/** Ends a process between two steps: what it had not committed is gone. */
export class Crash extends Error {
  override readonly name = 'Crash';
  readonly who: number | 'control';

  constructor(who: number | 'control') {
    super(`crash of ${who}`);
    this.who = who;
  }
}

/** What the world offers to the processes in it. */
export interface Surroundings {
  readonly parts: Parts;
  readonly random: Random;
  readonly judge: Judge;
  /** True while nothing fails any more and all must come to rest. */
  readonly healed: boolean;
  /** True as long as no host and no catalog was ever set back. */
  readonly unharmed: boolean;
  /** Real time; the clocks of the hosts differ from it. */
  now(): number;
  mintId(prefix: string): string;
  connect(agent: number): Link;
  say(line: () => string): void;
  /** A place between two steps where the process may die. */
  mayDie(who: number | 'control'): void;
}
export const LEASE_MS = 90_000;
export const GRANT_MS = 30_000;
