import type { JobView } from './views.ts';

/** What a page receives while it is open. */
export type WatchEvent =
  /** Sent at least every LIMITS.watchAliveMs: a page that misses it shows old data. `at` is the clock of the control plane. */
  | { readonly kind: 'alive'; readonly at: number }
  /** The job in its newest state, at most five times a second. */
  | { readonly kind: 'job'; readonly job: JobView };
