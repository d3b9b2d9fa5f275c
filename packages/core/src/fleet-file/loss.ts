import { Timetable } from '../schedules/timetable.ts';
import { isEqual } from './equal.ts';
import { combinePolicies, covers, type EffectivePolicy, type MatchTarget, type TargetSchedule } from './match.ts';
import type { Contact, FleetFile, Policy } from './schema.ts';

/** What consent (`--accept-loss`) is asked for. */
export type Loss = 'retention_shortened' | 'protection_removed' | 'alert_silenced';

export interface Versions {
  readonly before: FleetFile;
  readonly after: FleetFile;
  readonly nowMs: number;
}

const lacksAny = (before: readonly string[] = [], after: readonly string[] = []): boolean =>
  before.some((each) => !after.includes(each));

/** Fewer addresses, or fewer environments. */
const isContactNarrower = (before: Contact, after: Contact): boolean =>
  lacksAny(before.email, after.email) ||
  lacksAny(before.channels, after.channels) ||
  (after.environments !== undefined &&
    (before.environments === undefined || lacksAny(before.environments, after.environments)));

/** Looser than before, or removed. */
const isLooser = (before: number | null, after: number | null): boolean =>
  before !== null && (after === null || after > before);

const SAMPLE_MS = 56 * 86_400_000;

/** How often a schedule runs in the next eight weeks. */
function runsOf({ schedule }: TargetSchedule, nowMs: number): number {
  return new Timetable(schedule).dueBetween(nowMs, nowMs + SAMPLE_MS).length;
}

function isScheduleWeaker(before: TargetSchedule, after: TargetSchedule, nowMs: number): boolean {
  const [old, now] = [before.work, after.work];
  if (old.command !== now.command) return true;
  if (before.schedule.catchUp === 'last' && after.schedule.catchUp === 'none') return true;
  if (old.command === 'verify' && now.command === 'verify' && now.level < old.level) return true;
  if (old.command === 'backup' && now.command === 'backup') {
    const fewer = now.databases !== null && (old.databases === null || lacksAny(old.databases, now.databases));
    // A deeper verification may need the option that was removed.
    const lacksOption = Object.entries(old.options).some(
      ([name, value]) => value !== false && now.options[name] !== value,
    );
    if (old.method !== now.method || fewer || lacksOption) return true;
  }
  return runsOf(after, nowMs) < runsOf(before, nowMs);
}

function scheduleLoss(
  kind: string,
  name: string,
  before: EffectivePolicy,
  after: EffectivePolicy,
  nowMs: number,
): Loss | null {
  const find = ({ schedules }: EffectivePolicy): TargetSchedule | undefined =>
    schedules.find((each) => each.name === name && each.work.command === kind);
  const [old, now] = [find(before), find(after)];
  // Rotation only removes: less of it loses nothing, and the first schedule makes retention rules take effect.
  if (kind === 'rotate') return old === undefined && before.retention !== null ? 'retention_shortened' : null;
  if (old === undefined) return null;
  return now === undefined || isScheduleWeaker(old, now, nowMs) ? 'protection_removed' : null;
}

/** Rules add up, so a backup is lost when a rule is shorter or removed, or when the first rule replaces "keep everything". */
function retentionLoss(key: string, before: EffectivePolicy, after: EffectivePolicy): Loss | null {
  const rules = ({ retention }: EffectivePolicy): Map<string, unknown> => {
    const { minimum: _minimum, ...rest } = retention ?? {};
    return new Map(Object.entries(rest));
  };
  const [old, now] = [rules(before), rules(after)];
  if (now.size === 0) return null;
  if (old.size === 0) return key === 'minimum' ? null : 'retention_shortened';
  const value = ({ retention }: EffectivePolicy): number =>
    Number(new Map(Object.entries(retention ?? {})).get(key) ?? 0);
  return value(after) < value(before) ? 'retention_shortened' : null;
}

function isAlertSilenced(key: string, before: EffectivePolicy, after: EffectivePolicy): boolean {
  const [old, now] = [before.alerts, after.alerts];
  switch (key) {
    case 'contacts':
    case 'pings':
      return lacksAny(old[key], now[key]);
    case 'mute':
      return lacksAny(now.mute, old.mute);
    case 'escalate':
      return (
        old.escalate !== null &&
        (isLooser(old.escalate.afterMs, now.escalate?.afterMs ?? null) ||
          lacksAny(old.escalate.contacts, now.escalate?.contacts))
      );
    case 'repeat':
      return isLooser(old.repeatMs, now.repeatMs);
    case 'backupAge':
      return isLooser(old.backupAgeMs, now.backupAgeMs);
    case 'backupDuration':
      return isLooser(old.backupDurationMs, now.backupDurationMs);
    case 'sizeChangePercent':
      return isLooser(old.sizeChangePercent, now.sizeChangePercent);
    case 'logLag':
      return isLooser(old.logLagMs, now.logLagMs);
    default:
      return false;
  }
}

/** Any target: the policy alone is compared with itself. */
const ANY: MatchTarget = { environment: 'any', host: 'any', target: 'any', engine: 'any', labels: {} };

function policyLoss(path: readonly string[], { before, after, nowMs }: Versions): Loss | null {
  const [, name = '', section = '', key = ''] = path;
  const [old, now] = [before.policies[name], after.policies[name]];
  if (old === undefined || now === undefined) return null;
  const [oldAlone, nowAlone] = [combinePolicies(before, ANY, [name]), combinePolicies(after, ANY, [name])];
  switch (section) {
    case 'select':
      return covers(now.select, old.select) ? null : 'protection_removed';
    case 'requireStream':
      return old.requireStream === true && now.requireStream !== true ? 'protection_removed' : null;
    case 'objectives': {
      const value = ({ objectives }: Policy): number | null =>
        new Map(Object.entries(objectives ?? {})).get(key) ?? null;
      return isLooser(value(old), value(now)) ? 'alert_silenced' : null;
    }
    case 'retention':
      return retentionLoss(key, oldAlone, nowAlone);
    case 'alerts':
      return isAlertSilenced(key, oldAlone, nowAlone) ? 'alert_silenced' : null;
    case 'backup':
    case 'verify':
    case 'rotate':
    case 'copy':
      return scheduleLoss(section, key, oldAlone, nowAlone, nowMs);
    default:
      return null;
  }
}

/** True when an entry of the old file stands in the new one under another name. */
function wasRenamed(section: 'policies' | 'runbooks', name: string, { before, after }: Versions): boolean {
  const content = before[section][name];
  return Object.entries(after[section]).some(
    ([other, entry]) => !Object.hasOwn(before[section], other) && isEqual(entry, content),
  );
}

/** Why the difference at a path needs consent; null when nothing is lost by it. */
export function lossOf(
  path: readonly string[],
  kind: 'added' | 'removed' | 'changed',
  versions: Versions,
): Loss | null {
  const [section, name = ''] = path;
  const whole = path.length === 2;
  switch (section) {
    case 'policies':
      if (!whole) return policyLoss(path, versions);
      return kind === 'removed' && !wasRenamed('policies', name, versions) ? 'protection_removed' : null;
    case 'contacts': {
      const [old, now] = [versions.before.contacts[name], versions.after.contacts[name]];
      if (old === undefined) return null;
      return now === undefined || isContactNarrower(old, now) ? 'alert_silenced' : null;
    }
    case 'runbooks': {
      const had = versions.before.runbooks[name]?.drill !== undefined;
      const has = versions.after.runbooks[name]?.drill !== undefined;
      if (kind === 'removed') return wasRenamed('runbooks', name, versions) ? null : 'protection_removed';
      return had && !has ? 'protection_removed' : null;
    }
    default:
      return null;
  }
}
