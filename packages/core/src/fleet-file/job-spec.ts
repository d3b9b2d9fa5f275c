import { type JobSpec, jobSpecSchema, type Retention, verificationLevelSchema } from '@lastgood/protocol';
import { Bug } from '../failure.ts';
import type { ScheduledWork } from './match.ts';
import type { FleetRetention } from './schema.ts';

/** What the job of a schedule needs beside the schedule. */
export interface SpecFacts {
  /** Null: no policy of the target has a retention rule. */
  readonly retention: FleetRetention | null;
  /** The backups of the target that are held. */
  readonly holds: readonly string[];
}

/** Rules that rotation on the agent can carry out. */
const CARRIED_OUT: ReadonlySet<string> = new Set(['keepLast', 'keepWithin', 'minimum']);

/** The rules that rotation does not carry out. Without one of them rotation would remove backups that the rule keeps. */
export const unsupportedRules = (retention: FleetRetention): string[] =>
  Object.entries(retention).flatMap(([rule, value]) => (value === undefined || CARRIED_OUT.has(rule) ? [] : [rule]));

function retentionOf(retention: FleetRetention | null): Retention | null {
  if (retention === null || unsupportedRules(retention).length > 0) return null;
  const { keepLast, keepWithin, minimum = 1 } = retention;
  return {
    ...(keepLast === undefined ? {} : { keepLast }),
    ...(keepWithin === undefined ? {} : { keepWithinHours: keepWithin / 3_600_000 }),
    minimum,
  };
}

/**
 * The job that an occurrence of a schedule is. Null for a rotation without rules, or with one that rotation cannot carry out: it would
 * remove too much. Everything that is kept is safe.
 */
export function jobSpecOf(work: ScheduledWork, target: string, { retention, holds }: SpecFacts): JobSpec | null {
  switch (work.command) {
    case 'backup': {
      const { method, databases, options } = work;
      return { command: 'backup', target, method, contents: databases === null ? null : [...databases], options };
    }
    case 'verify': {
      const level = verificationLevelSchema.safeParse(work.level);
      if (!level.success) throw new Bug(`level ${work.level} does not exist`);
      return { command: 'verify', target, backupId: null, level: level.data };
    }
    case 'copy':
      return { command: 'copy', target, backupId: null, repository: null };
    case 'rotate': {
      const rules = retentionOf(retention);
      const job = { command: 'rotate', target, retention: rules, holds: holds.toSorted(), dryRun: false } as const;
      return rules === null ? null : jobSpecSchema.parse(job);
    }
  }
}
