import type { AlertCode } from '../alerts/codes.ts';
import { type CatchUp, type Schedule, scheduleIdOf } from '../schedules/schedule.ts';
import { SCHEDULE_DEFAULTS } from './schedule-schema.ts';
import type { FleetFile, FleetRetention, Policy, ScheduleEntry, Selector } from './schema.ts';

/** A target as selectors see it. */
export interface MatchTarget {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
  readonly engine: string;
  /** Those of the target and of its host; the target wins. */
  readonly labels: Readonly<Record<string, string>>;
}

const KEYS = ['environment', 'host', 'target', 'engine'] as const;
const listOf = (value: string | readonly string[]): readonly string[] => (typeof value === 'string' ? [value] : value);

/** True when the target has what each key of the selector asks for. An empty selector matches every target. */
export const selects = (selector: Selector, target: MatchTarget): boolean =>
  KEYS.every((key) => selector[key] === undefined || listOf(selector[key]).includes(target[key])) &&
  Object.entries(selector.labels ?? {}).every(([label, value]) => target.labels[label] === value);

/** True when `wide` selects every target that `narrow` can select, whatever targets exist. */
export function covers(wide: Selector, narrow: Selector): boolean {
  const within = KEYS.every((key) => {
    const [outer, inner] = [wide[key], narrow[key]];
    return outer === undefined || (inner !== undefined && listOf(inner).every((each) => listOf(outer).includes(each)));
  });
  return within && Object.entries(wide.labels ?? {}).every(([label, value]) => narrow.labels?.[label] === value);
}

/** What a schedule starts. */
export type ScheduledWork =
  | {
      readonly command: 'backup';
      readonly method: string;
      readonly databases: readonly string[] | null;
      readonly options: Readonly<Record<string, boolean | number | string>>;
    }
  | { readonly command: 'verify'; readonly level: number }
  | { readonly command: 'rotate' }
  | { readonly command: 'copy' };

/** A schedule of one target, with all defaults applied. */
export interface TargetSchedule {
  readonly name: string;
  /** The policies that ask for it. */
  readonly policies: readonly string[];
  readonly work: ScheduledWork;
  readonly schedule: Schedule;
}
/** Two policies, or two entries of one, that give one name to different schedules. The first one counts. */
export interface ScheduleConflict {
  readonly name: string;
  readonly policies: readonly [string, string];
  /** Where the second one stands in the file. */
  readonly path: readonly (string | number)[];
}

export interface AlertSettings {
  readonly contacts: readonly string[];
  readonly pings: readonly string[];
  readonly repeatMs: number;
  readonly escalate: { readonly afterMs: number; readonly contacts: readonly string[] } | null;
  readonly backupAgeMs: number;
  readonly backupDurationMs: number;
  readonly sizeChangePercent: number;
  readonly logLagMs: number | null;
  readonly mute: readonly AlertCode[];
}

/** What all policies of a target add up to. */
export interface EffectivePolicy {
  /** In the order of their names; never empty. */
  readonly policies: readonly string[];
  readonly objectives: {
    readonly rpoMs: number | null;
    readonly rtoMs: number | null;
    readonly restoreTestMs: number | null;
  };
  readonly requireStream: boolean;
  readonly schedules: readonly TargetSchedule[];
  readonly conflicts: readonly ScheduleConflict[];
  /** Null: no policy has a rule, so nothing is rotated. */
  readonly retention: FleetRetention | null;
  readonly alerts: AlertSettings;
}

interface Entry {
  readonly policy: string;
  readonly path: readonly (string | number)[];
  readonly name: string;
  readonly work: ScheduledWork;
  readonly entry: ScheduleEntry;
}

/** The name of a schedule: that of the file, or one derived from what it does. */
export const scheduleNameOf = (
  kind: ScheduledWork['command'],
  { name, method, level }: { readonly name?: string | undefined; readonly method?: string; readonly level?: number },
): string => {
  if (name !== undefined) return name;
  if (kind === 'backup') return `backup-${method}`;
  return kind === 'verify' ? `verify-l${level}` : kind;
};

/** The schedules of a policy. */
function entriesOf(policy: string, { backup = [], verify = [], rotate = [], copy = [] }: Policy): Entry[] {
  const at = (kind: string, index: number): (string | number)[] => ['policies', policy, kind, index];
  return [
    ...backup.map((entry, index) => ({
      policy,
      path: at('backup', index),
      name: scheduleNameOf('backup', entry),
      work: {
        command: 'backup' as const,
        method: entry.method,
        databases: entry.databases ?? null,
        options: entry.options ?? {},
      },
      entry,
    })),
    ...verify.map((entry, index) => ({
      policy,
      path: at('verify', index),
      name: scheduleNameOf('verify', entry),
      work: { command: 'verify' as const, level: entry.level },
      entry,
    })),
    ...rotate.map((entry, index) => ({
      policy,
      path: at('rotate', index),
      name: scheduleNameOf('rotate', entry),
      work: { command: 'rotate' as const },
      entry,
    })),
    ...copy.map((entry, index) => ({
      policy,
      path: at('copy', index),
      name: scheduleNameOf('copy', entry),
      work: { command: 'copy' as const },
      entry,
    })),
  ];
}

function scheduleOf({ name, entry }: Entry, target: MatchTarget, timezone: string | undefined): Schedule {
  const catchUp: CatchUp = entry.catchUp ?? SCHEDULE_DEFAULTS.catchUp;
  return {
    scheduleId: scheduleIdOf(target, name),
    cron: entry.cron,
    timezone: entry.timezone ?? timezone ?? SCHEDULE_DEFAULTS.timezone,
    spreadMs: entry.spread ?? SCHEDULE_DEFAULTS.spread,
    spreadKey: `${target.environment}/${target.host}/${target.target}`,
    windowMs: entry.window ?? SCHEDULE_DEFAULTS.window,
    maxRunMs: entry.maxRun ?? SCHEDULE_DEFAULTS.maxRun,
    catchUp,
  };
}

function addSchedules(
  entries: readonly Entry[],
  target: MatchTarget,
  timezone: string | undefined,
): Pick<EffectivePolicy, 'schedules' | 'conflicts'> {
  const schedules = new Map<string, TargetSchedule>();
  const conflicts: ScheduleConflict[] = [];
  for (const each of entries) {
    const { name, policy, work, path } = each;
    const schedule = scheduleOf(each, target, timezone);
    const known = schedules.get(name);
    if (known === undefined) schedules.set(name, { name, policies: [policy], work, schedule });
    else if (JSON.stringify([known.work, known.schedule]) === JSON.stringify([work, schedule]))
      schedules.set(name, { ...known, policies: [...new Set([...known.policies, policy])] });
    else conflicts.push({ name, policies: [known.policies[0] ?? policy, policy], path });
  }
  return { schedules: [...schedules.values()], conflicts };
}

const present = <T>(values: readonly (T | undefined)[]): T[] => values.filter((value) => value !== undefined);
const strictest = (values: readonly (number | undefined)[]): number | null =>
  present(values).length === 0 ? null : Math.min(...present(values));

/** Per rule the longest: a backup is kept as soon as one policy keeps it. */
function addRetention(policies: readonly Policy[]): FleetRetention | null {
  const rules = present(policies.map(({ retention }) => retention));
  if (rules.length === 0) return null;
  const longest: Record<string, number> = {};
  for (const rule of rules)
    for (const [key, value] of Object.entries(rule))
      if (value !== undefined) longest[key] = Math.max(longest[key] ?? 0, value);
  return longest;
}

const DEFAULT_ALERTS = { repeatMs: 4 * 3_600_000, backupAgeMs: 24 * 3_600_000, backupDurationMs: 3_600_000 };
const DEFAULT_SIZE_CHANGE_PERCENT = 50;

function addAlerts(policies: readonly Policy[], rpoMs: number | null): AlertSettings {
  const all = present(policies.map(({ alerts }) => alerts));
  const unique = <T extends string>(lists: readonly (readonly T[] | undefined)[]): T[] => [
    ...new Set(present(lists).flat()),
  ];
  const escalations = present(all.map(({ escalate }) => escalate));
  const afterMs = strictest(escalations.map(({ after }) => after));
  return {
    contacts: unique(all.map(({ contacts }) => contacts)),
    pings: unique(all.map(({ pings }) => pings)),
    repeatMs: strictest(all.map(({ repeat }) => repeat)) ?? DEFAULT_ALERTS.repeatMs,
    escalate: afterMs === null ? null : { afterMs, contacts: unique(escalations.map(({ contacts }) => contacts)) },
    backupAgeMs: strictest(all.map(({ backupAge }) => backupAge)) ?? Math.max(DEFAULT_ALERTS.backupAgeMs, rpoMs ?? 0),
    backupDurationMs: strictest(all.map(({ backupDuration }) => backupDuration)) ?? DEFAULT_ALERTS.backupDurationMs,
    sizeChangePercent: strictest(all.map((each) => each.sizeChangePercent)) ?? DEFAULT_SIZE_CHANGE_PERCENT,
    logLagMs: strictest(all.map(({ logLag }) => logLag)) ?? rpoMs,
    // A code stays audible as long as one policy with alerts does not mute it.
    mute: unique(all.map(({ mute }) => mute)).filter((code) => all.every(({ mute = [] }) => mute.includes(code))),
  };
}

/** Adds up policies of the file for a target, by name: those that select it, unless a caller chose them. */
export function combinePolicies(file: FleetFile, target: MatchTarget, names: readonly string[]): EffectivePolicy {
  const policies = names.flatMap((name) => file.policies[name] ?? []);
  const objective = (key: 'rpo' | 'rto' | 'restoreTest'): number | null =>
    strictest(policies.map(({ objectives }) => objectives?.[key]));
  const rpoMs = objective('rpo');
  const entries = names.flatMap((name) => {
    const policy = file.policies[name];
    return policy === undefined ? [] : entriesOf(name, policy);
  });
  return {
    policies: names,
    objectives: { rpoMs, rtoMs: objective('rto'), restoreTestMs: objective('restoreTest') },
    requireStream: policies.some(({ requireStream }) => requireStream === true),
    ...addSchedules(entries, target, file.environments[target.environment]?.timezone),
    retention: addRetention(policies),
    alerts: addAlerts(policies, rpoMs),
  };
}

/** The names of the policies that select a target, sorted. */
export const policiesOf = (file: FleetFile, target: MatchTarget): string[] =>
  Object.entries(file.policies)
    .filter(([, { select }]) => selects(select, target))
    .map(([name]) => name)
    .toSorted();

/**
 * What the policies of a target add up to: their schedules, the stricter of their objectives, the longer of their retention rules. Null
 * when no policy selects it: the target is unprotected.
 */
export function effectivePolicy(file: FleetFile, target: MatchTarget): EffectivePolicy | null {
  const names = policiesOf(file, target);
  return names.length === 0 ? null : combinePolicies(file, target, names);
}
