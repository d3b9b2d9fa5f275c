import type { Link } from './network.ts';
import type { Oracle } from './oracle.ts';
import type { Protocol } from './protocol-under-test.ts';
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
export interface Environment {
  readonly protocol: Protocol;
  readonly random: Random;
  readonly oracle: Oracle;
  /** True while nothing fails any more and all must come to rest. */
  readonly healed: boolean;
  /** True as long as no host and no catalog was ever set back. */
  readonly unharmed: boolean;
  /** Real time; the clocks of the hosts differ from it. */
  now(): number;
  newId(prefix: string): string;
  connect(agent: number): Link;
  note(line: () => string): void;
  /** A place between two steps where the process may die. */
  mayCrash(who: number | 'control'): void;
}
export const LEASE_MS = 90_000;
export const GRANT_MS = 30_000;
