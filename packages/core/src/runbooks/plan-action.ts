import {
  type BackupSummary,
  type Finding,
  makeFinding,
  type PlannedAction,
  type ReachedPoint,
  type RestoreInto,
  type RestoreRequest,
  type RunbookMode,
} from '@lastgood/protocol';
import type { ActionKind, RunbookStep } from '../fleet-file/runbook-schema.ts';
import { selectBackup } from '../recovery/backup-selection.ts';
import { restoreScopeOf } from '../recovery/restore-scope.ts';
import { newestInstant, type ReportedWindows, windowAt } from '../recovery/windows.ts';
import { RESTORE_TEST_LEVEL } from '../verification/verdict.ts';

/** The level of the restore tests of a drill: loaded into a scratch server, and its queries and expectations hold there. */
export const DRILL_LEVEL = 5;

/** A target as the plan of a runbook needs it. */
export interface RunbookTarget {
  readonly backups: readonly BackupSummary[];
  readonly reported: ReportedWindows;
  /** How long a restore takes, measured or estimated; null when it is not known. */
  readonly restoreMs: number | null;
}
/** A host as the plan of a runbook needs it. Names are null before its agent has reported them. */
export interface RunbookHost {
  readonly isOnline: boolean;
  readonly checks: ReadonlySet<string> | null;
  readonly hooks: ReadonlySet<string> | null;
}
export interface PlanScope {
  readonly mode: RunbookMode;
  /** The instant for all targets; null for the newest of each. */
  readonly instantMs: number | null;
  readonly targets: ReadonlyMap<string, RunbookTarget>;
  readonly hosts: ReadonlyMap<string, RunbookHost>;
}
/** An action with everything decided; null when a finding refuses it. */
export interface PlannedOrRefused {
  readonly action: PlannedAction | null;
  readonly findings: readonly Finding[];
}
/** The action of a step, or one of its alternatives. */
export type Action = Partial<Pick<RunbookStep, ActionKind>>;

type Restore = NonNullable<RunbookStep['restore']>;
const refuse = (finding: Finding): PlannedOrRefused => ({ action: null, findings: [finding] });
const targetOf = (name: string) => ({ kind: 'target', name }) as const;

function intoOf({ into }: Restore): RestoreInto {
  if (typeof into === 'string') return { way: into };
  return 'new' in into ? { way: 'new', name: into.new } : { way: 'folder', folder: into.folder };
}

/** The instant of a restore: its own, or that of the whole set. Null for the newest. */
const instantOf = ({ point }: Restore, { instantMs }: PlanScope): number | null =>
  point === undefined || point === 'latest' ? instantMs : Date.parse(point);

/** An instant that a log stream covers. */
interface LogPoint {
  readonly atMs: number;
  /** The base backup of its window. */
  readonly backupId: string;
  /** Whatever the log holds when the restore runs. */
  readonly isNewest: boolean;
}
/** The instant that a log stream covers, with the base backup of its window; null when a backup is meant. */
function pointInTime(restore: Restore, { reported }: RunbookTarget, wantedMs: number | null): LogPoint | null {
  if (typeof restore.into === 'string' || !('folder' in restore.into)) return null;
  const newest = newestInstant(reported);
  if (newest === null) return null;
  if (wantedMs === null) return { ...newest, isNewest: true };
  // The log has not been reported so far yet: the host says so when it has not got there, and never goes past the instant.
  if (wantedMs > newest.atMs) return { ...newest, atMs: wantedMs, isNewest: false };
  const backupId = windowAt(reported, wantedMs)?.backups.at(-1);
  return backupId === undefined ? null : { atMs: wantedMs, backupId, isNewest: false };
}

const toTest = (target: string, backupId: string, point: ReachedPoint): PlannedAction => ({
  kind: 'restore-test',
  target,
  backupId,
  level: DRILL_LEVEL,
  point,
});

function planLogRestore(
  restore: Restore,
  { mode }: PlanScope,
  { backups }: RunbookTarget,
  found: LogPoint,
): PlannedAction {
  const time = new Date(found.atMs).toISOString();
  const point = { at: time, basis: 'log', backupId: found.backupId } as const;
  if (mode === 'drill') {
    // A restore test replays the log to the end of the base backup and no further: that is the point that it tests.
    const at = backups.find(({ backupId }) => backupId === found.backupId)?.recoveryPoint;
    const tested = at === undefined ? point : ({ at, basis: 'backup', backupId: found.backupId } as const);
    return toTest(restore.target, found.backupId, tested);
  }
  const request: RestoreRequest = {
    scope: { kind: 'server' },
    point: found.isNewest ? { kind: 'latest' } : { kind: 'time', time },
    into: intoOf(restore),
    options: {},
  };
  return { kind: 'restore', target: restore.target, request, point };
}

function scopeOf(restore: Restore, backup: BackupSummary): RestoreRequest['scope'] | null {
  const databases = backup.contents.filter(({ kind }) => kind === 'database');
  const wholeServer = intoOf(restore).way === 'folder';
  if (restore.database === undefined && !wholeServer && databases.length > 1) return null;
  return restoreScopeOf(backup.contents, { database: restore.database, wholeServer });
}

function planBackupRestore(restore: Restore, scope: PlanScope, target: RunbookTarget): PlannedOrRefused {
  const subject = targetOf(restore.target);
  const wantedMs = instantOf(restore, scope);
  const wanted = wantedMs === null ? ({ type: 'latest' } as const) : ({ type: 'at', atMs: wantedMs } as const);
  const prefer = intoOf(restore).way === 'folder' ? 'server' : 'database';
  const selection = selectBackup(target.backups, wanted, 'restore', restore.database ?? null, prefer);
  if (selection.type === 'several-contents')
    return refuse(makeFinding('RUNBOOK_SCOPE_UNCLEAR', subject, { databases: selection.names }));
  if (selection.type !== 'selected') return refuse(makeFinding('RUNBOOK_NO_RECOVERY_POINT', subject));
  const { backup } = selection;
  const { backupId } = backup;
  const restored = scopeOf(restore, backup);
  if (restored === null) {
    const databases = backup.contents.map(({ name }) => name);
    return refuse(makeFinding('RUNBOOK_SCOPE_UNCLEAR', subject, { databases }));
  }
  const tested = backup.verified?.passed === true && backup.verified.level >= RESTORE_TEST_LEVEL;
  const findings = tested ? [] : [makeFinding('RUNBOOK_UNTESTED', subject, { backup: backupId })];
  const point = { at: backup.recoveryPoint, basis: 'backup', backupId } as const;
  if (scope.mode === 'drill') return { action: toTest(restore.target, backupId, point), findings: [] };
  const request: RestoreRequest = {
    scope: restored,
    point: { kind: 'backup', backupId },
    into: intoOf(restore),
    options: {},
  };
  return { action: { kind: 'restore', target: restore.target, request, point }, findings };
}

function planRestore(restore: Restore, scope: PlanScope): PlannedOrRefused {
  const target = scope.targets.get(restore.target);
  if (target === undefined) return refuse(makeFinding('RUNBOOK_TARGET_UNKNOWN', targetOf(restore.target)));
  const found = pointInTime(restore, target, instantOf(restore, scope));
  const planned =
    found === null
      ? planBackupRestore(restore, scope, target)
      : { action: planLogRestore(restore, scope, target, found), findings: [] };
  return { ...planned, findings: [...planned.findings, ...offline(hostPathOf(restore.target), scope)] };
}

const hostPathOf = (target: string): string => target.split('/').slice(0, 2).join('/');

const offline = (host: string, { hosts }: PlanScope): Finding[] =>
  hosts.get(host)?.isOnline === false ? [makeFinding('RUNBOOK_HOST_OFFLINE', null, { host })] : [];

/** A check or hook must be defined by its agent, as far as it has reported that. */
function planHostAction(
  kind: 'check' | 'hook',
  named: { host: string; name: string },
  scope: PlanScope,
): PlannedOrRefused {
  if (scope.mode === 'drill') return { action: { kind: 'left-out', instead: kind }, findings: [] };
  const { host, name } = named;
  const known = scope.hosts.get(host);
  if (known === undefined) return refuse(makeFinding('RUNBOOK_HOST_UNKNOWN', null, { host }));
  const names = kind === 'check' ? known.checks : known.hooks;
  const code = kind === 'check' ? 'RUNBOOK_CHECK_UNDEFINED' : 'RUNBOOK_HOOK_UNDEFINED';
  if (names !== null && !names.has(name)) return refuse(makeFinding(code, null, { host, name }));
  return { action: { kind, host, name }, findings: offline(host, scope) };
}

/** Decides what an action does. A drill tests restores in scratch servers, and leaves out what would touch anything live. */
export function planAction(action: Action, scope: PlanScope): PlannedOrRefused {
  const { restore, check, hook, wait, approve, notify } = action;
  const plain = (planned: PlannedAction): PlannedOrRefused => ({
    action: scope.mode === 'drill' ? { kind: 'left-out', instead: planned.kind } : planned,
    findings: [],
  });
  if (restore !== undefined) return planRestore(restore, scope);
  if (check !== undefined) return planHostAction('check', check, scope);
  if (hook !== undefined) return planHostAction('hook', hook, scope);
  if (approve !== undefined) return plain({ kind: 'approve', by: approve.by ?? 'anyone', note: approve.note ?? null });
  if (notify !== undefined) return plain({ kind: 'notify', contacts: notify.contacts, message: notify.message });
  return plain({ kind: 'wait', ms: wait ?? 0 });
}
