import type { JobSpec } from './spec.ts';

/** Safe jobs may be run again after a crash; destructive ones need a live grant and are never re-run. */
export type JobClass = 'safe' | 'destructive';

/** A dry run of rotate deletes nothing, so it is safe. */
export function classOf(spec: JobSpec): JobClass {
  switch (spec.command) {
    case 'restore':
    case 'undo':
    case 'drop-set-aside':
    case 'hook':
      return 'destructive';
    case 'rotate':
      return spec.dryRun ? 'safe' : 'destructive';
    default:
      return 'safe';
  }
}
