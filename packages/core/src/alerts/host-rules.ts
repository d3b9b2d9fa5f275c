import type { DrillStatus } from '../runbooks/drill-status.ts';
import type { AlertCondition } from './condition.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** An agent is missed after this, or after three heartbeats if that is longer. */
const OFFLINE_MS = 5 * MINUTE_MS;
/** An enrolled agent that never connected. */
const NEVER_MS = 60 * MINUTE_MS;
const SKEW_MS = 30_000;
const CERTIFICATE_MS = 21 * DAY_MS;
const TOKEN_MS = 14 * DAY_MS;
/** An expired token is reported for so long: what used it has stopped working. */
const EXPIRED_TOKEN_MS = 7 * DAY_MS;
const CATALOG_BACKUP_MS = 26 * 60 * MINUTE_MS;
const FREE_SHARE = 0.15;
/** Space for this many of the largest recent backups must be left. */
const FREE_BACKUPS = 2;
/** Agents that two control planes share reconnect within this time. */
const OTHER_CONTROL_MS = 60 * MINUTE_MS;
const NOTIFICATION_MS = 15 * MINUTE_MS;

export interface RepositoryAlertFacts {
  readonly repository: string;
  readonly isReachable: boolean;
  /** The error code when it is not. */
  readonly code: string | null;
  /** Null when the medium has no such number. */
  readonly freeBytes: number | null;
  readonly totalBytes: number | null;
  readonly largestBackupBytes: number | null;
}

export interface HostAlertFacts {
  readonly environment: string;
  readonly host: string;
  readonly state: 'online' | 'offline' | 'never' | 'quarantined';
  /** Since when it is in its state; for `never` since its enrollment. */
  readonly sinceMs: number;
  readonly heartbeatMs: number;
  readonly clockSkewMs: number | null;
  /** When the certificate that its agent sees at the address of the control plane expires; null without TLS. */
  readonly certificateExpiresMs: number | null;
  readonly repositories: readonly RepositoryAlertFacts[];
}

function isMissing({ state, sinceMs, heartbeatMs }: HostAlertFacts, nowMs: number): boolean {
  switch (state) {
    case 'online':
      return false;
    case 'quarantined':
      return true;
    case 'offline':
      return nowMs - sinceMs > Math.max(3 * heartbeatMs, OFFLINE_MS);
    case 'never':
      return nowMs - sinceMs > NEVER_MS;
  }
}

function judgeRepository(host: HostAlertFacts, facts: RepositoryAlertFacts): AlertCondition[] {
  const { repository, isReachable, code, freeBytes, totalBytes, largestBackupBytes } = facts;
  const subject = { kind: 'repository', environment: host.environment, host: host.host, repository } as const;
  if (!isReachable) return [{ code: 'repository_unreachable', subject, params: { cause: code } }];
  if (freeBytes === null) return [];
  const isFull = totalBytes !== null && freeBytes < totalBytes * FREE_SHARE;
  const isTooSmall = largestBackupBytes !== null && freeBytes < largestBackupBytes * FREE_BACKUPS;
  return isFull || isTooSmall
    ? [{ code: 'repository_space', subject, params: { freeBytes, totalBytes, largestBackupBytes } }]
    : [];
}

/** The conditions of one host and its repositories. What an offline host last reported about them still counts. */
export function judgeHost(facts: HostAlertFacts, nowMs: number): AlertCondition[] {
  const { environment, host, state, sinceMs, clockSkewMs, certificateExpiresMs } = facts;
  const subject = { kind: 'host', environment, host } as const;
  const found: AlertCondition[] = [];
  if (isMissing(facts, nowMs)) found.push({ code: 'agent_offline', subject, params: { state, sinceMs } });
  if (state === 'online' && clockSkewMs !== null && Math.abs(clockSkewMs) > SKEW_MS)
    found.push({ code: 'clock_skew', subject, params: { skewMs: clockSkewMs } });
  if (certificateExpiresMs !== null && certificateExpiresMs - nowMs < CERTIFICATE_MS)
    found.push({ code: 'certificate_expiring', subject, params: { expiresMs: certificateExpiresMs } });
  return [...found, ...facts.repositories.flatMap((each) => judgeRepository(facts, each))];
}

export interface FleetAlertFacts {
  /** When the control plane first started; its catalog has no backup before. */
  readonly startedMs: number;
  readonly lastCatalogBackupMs: number | null;
  /** When an agent last reported a session that this catalog did not give it; null: never. */
  readonly otherControlSeenMs: number | null;
  /** Tokens that are not revoked. */
  readonly tokens: readonly { readonly name: string; readonly expiresMs: number | null }[];
  /** Messages that could not be delivered, one row per contact: since when, and whether it was given up. */
  readonly undelivered: readonly {
    readonly contact: string;
    readonly sinceMs: number;
    readonly isGivenUp: boolean;
    readonly cause: string | null;
  }[];
  /** The runbooks of the fleet file in force. */
  readonly drills: readonly DrillStatus[];
}

function judgeDrill({
  runbook,
  runId,
  hasFailed,
  durationMs,
  rtoMs,
  rto,
  overdueSinceMs,
}: DrillStatus): AlertCondition[] {
  const subject = { kind: 'fleet', name: `runbook ${runbook}` } as const;
  return [
    ...(hasFailed ? [{ code: 'drill_failed', subject, params: { runId } } as const] : []),
    ...(rto === 'missed' ? [{ code: 'drill_rto_missed', subject, params: { durationMs, rtoMs } } as const] : []),
    ...(overdueSinceMs === null
      ? []
      : [{ code: 'drill_overdue', subject, params: { dueMs: overdueSinceMs } } as const]),
  ];
}

/** The conditions of the control plane. */
export function judgeFleet(facts: FleetAlertFacts, nowMs: number): AlertCondition[] {
  const tokens = facts.tokens.flatMap(({ name, expiresMs }): AlertCondition[] => {
    const leftMs = expiresMs === null ? Number.POSITIVE_INFINITY : expiresMs - nowMs;
    if (leftMs >= TOKEN_MS || leftMs < -EXPIRED_TOKEN_MS) return [];
    return [{ code: 'token_expiring', subject: { kind: 'fleet', name: `token ${name}` }, params: { expiresMs } }];
  });
  const notifications = facts.undelivered
    .filter(({ sinceMs, isGivenUp }) => isGivenUp || nowMs - sinceMs > NOTIFICATION_MS)
    .map(
      ({ contact, sinceMs, cause }): AlertCondition => ({
        code: 'notification_failed',
        subject: { kind: 'fleet', name: `contact ${contact}` },
        params: { sinceMs, cause },
      }),
    );
  const ageMs = nowMs - (facts.lastCatalogBackupMs ?? facts.startedMs);
  const catalog: AlertCondition[] =
    ageMs > CATALOG_BACKUP_MS
      ? [{ code: 'catalog_backup_old', subject: { kind: 'fleet', name: 'catalog' }, params: { ageMs } }]
      : [];
  const { otherControlSeenMs: seenMs } = facts;
  const others: AlertCondition[] =
    seenMs !== null && nowMs - seenMs < OTHER_CONTROL_MS
      ? [{ code: 'catalog_forked', subject: { kind: 'fleet', name: 'catalog' }, params: { seenMs } }]
      : [];
  return [...tokens, ...catalog, ...others, ...notifications, ...facts.drills.flatMap(judgeDrill)];
}
