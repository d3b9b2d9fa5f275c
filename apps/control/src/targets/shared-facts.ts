import { streamStateOf } from '@lastgood/core';
import type { EffectivePolicy } from '@lastgood/core/fleet-file';
import type { SharedFacts } from '@lastgood/core/objectives';
import { type Finding, makeFinding } from '@lastgood/protocol';
import type { TargetRecords } from './target-records.ts';

/** What the policies of the fleet file, the schedules and the caller want of a target. */
export interface TargetDemands {
  readonly objectives: SharedFacts['objectives'];
  readonly maxAgeMs: number | null;
  readonly requireStream: boolean;
  readonly firstBackupDueMs: number | null;
}

/** What the policies of a target want of it; nothing when no policy selects it. */
export const demandsOf = (policy: EffectivePolicy | null, firstBackupDueMs: number | null): TargetDemands => ({
  objectives: policy?.objectives ?? null,
  maxAgeMs: null,
  requireStream: policy?.requireStream ?? false,
  firstBackupDueMs,
});

/** What the agent of a target has reported as an error. */
function reportedErrors({ name, state, findings }: TargetRecords['inventory']): Finding[] {
  const subject = { kind: 'target', name } as const;
  const server =
    state === 'ok' ? [] : [makeFinding(state === 'refused' ? 'SERVER_REFUSED' : 'SERVER_UNREACHABLE', subject)];
  return [...server, ...findings.filter(({ severity }) => severity === 'error')];
}

/** The facts that are the same for all databases of a target. */
export function sharedFactsOf(
  { environment, host, inventory, attempts }: TargetRecords,
  demands: TargetDemands,
  hostState: SharedFacts['hostState'],
): SharedFacts {
  return {
    environment,
    host,
    target: inventory.name,
    ...demands,
    hostState,
    isReported: true,
    streamState: streamStateOf(inventory),
    reportedErrors: reportedErrors(inventory),
    failedAttempts: attempts.flatMap(({ command, at, failingSince, cause }) =>
      failingSince === null ? [] : [{ command, atMs: at, sinceMs: failingSince, cause }],
    ),
  };
}
