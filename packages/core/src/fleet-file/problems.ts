import { formatDuration } from '../duration.ts';

/** `error`: the file is not applied. `warning`: it is, and this is shown. */
export type ProblemSeverity = 'error' | 'warning';

/** What the checks of a fleet file find beyond its schema, by code. */
export type FleetProblemDetail =
  | { readonly code: 'environment_unknown'; readonly name: string }
  | { readonly code: 'contact_unknown'; readonly name: string }
  | { readonly code: 'channel_unknown'; readonly name: string }
  | { readonly code: 'schedule_conflict'; readonly name: string; readonly policies: readonly [string, string] }
  | { readonly code: 'rpo_unreachable'; readonly rpoMs: number; readonly gapMs: number | null }
  | { readonly code: 'rpo_tight'; readonly rpoMs: number; readonly gapMs: number }
  | { readonly code: 'retention_below_host_limits'; readonly rule: string; readonly limit: string }
  | { readonly code: 'rotate_without_retention' }
  | { readonly code: 'rotation_not_scheduled' }
  | { readonly code: 'retention_rule_unsupported'; readonly rule: string }
  | { readonly code: 'verification_needs_key'; readonly level: number }
  | { readonly code: 'method_unsupported'; readonly method: string; readonly engine: string }
  | { readonly code: 'stream_unsupported'; readonly engine: string }
  | { readonly code: 'nobody_notified' }
  | { readonly code: 'policy_matches_nothing' }
  | { readonly code: 'target_unprotected' }
  | { readonly code: 'step_unknown'; readonly name: string }
  | { readonly code: 'runbook_cycle'; readonly steps: readonly string[] }
  | { readonly code: 'step_unreachable'; readonly name: string }
  | { readonly code: 'target_unknown' | 'host_unknown'; readonly name: string }
  | { readonly code: 'check_unknown' | 'hook_unknown'; readonly name: string; readonly host: string };
export type FleetProblemCode = FleetProblemDetail['code'];

export interface FleetProblem {
  readonly severity: ProblemSeverity;
  /** Where it stands in the content of the file; empty when it concerns a target that the file does not name. */
  readonly path: readonly (string | number)[];
  /** `environment/host/target` when it concerns one target. */
  readonly target: string | null;
  readonly detail: FleetProblemDetail;
}

const textOf = (detail: FleetProblemDetail): string => {
  switch (detail.code) {
    case 'environment_unknown':
      return `environment "${detail.name}" is not in this file`;
    case 'contact_unknown':
      return `contact "${detail.name}" is not in this file`;
    case 'channel_unknown':
      return `channel "${detail.name}" is not in the notification file of the control plane`;
    case 'schedule_conflict':
      return `schedule "${detail.name}" differs from that of policy ${detail.policies[0]}; give one of them another name`;
    case 'rpo_unreachable':
      return detail.gapMs === null
        ? `an RPO of ${formatDuration(detail.rpoMs)} needs a backup schedule or requireStream`
        : `an RPO of ${formatDuration(detail.rpoMs)} cannot be met: backups are up to ${formatDuration(detail.gapMs)} apart, and no stream is required`;
    case 'rpo_tight':
      return `backups are up to ${formatDuration(detail.gapMs)} apart, which leaves little of the RPO of ${formatDuration(detail.rpoMs)}: the target is at risk before each run`;
    case 'retention_below_host_limits':
      return `${detail.rule} is below the host limits (${detail.limit})`;
    case 'rotate_without_retention':
      return 'rotation without a retention rule keeps everything';
    case 'retention_rule_unsupported':
      return `rotation cannot carry out the rule "${detail.rule}" yet; nothing is removed, because rotating without it would remove too much`;
    case 'rotation_not_scheduled':
      return 'nothing is removed: the policy has retention rules and no rotate schedule';
    case 'verification_needs_key':
      return `level ${detail.level} decodes the backup, and its host has no key to decrypt it`;
    case 'method_unsupported':
      return `${detail.engine} has no backup method "${detail.method}"`;
    case 'stream_unsupported':
      return `${detail.engine} has no log stream on this target`;
    case 'nobody_notified':
      return 'no contact is notified of its alerts';
    case 'policy_matches_nothing':
      return 'no known target matches this policy';
    case 'target_unprotected':
      return 'no policy matches this target';
    case 'step_unknown':
      return `step "${detail.name}" is not in this runbook`;
    case 'runbook_cycle':
      return `steps wait for each other: ${detail.steps.join(' → ')}`;
    case 'step_unreachable':
      return `step "${detail.name}" can never begin: it waits for steps that wait for each other or do not exist`;
    case 'host_unknown':
      return `no agent is enrolled as "${detail.name}"`;
    case 'check_unknown':
      return `the agent file of ${detail.host} has no check "${detail.name}"`;
    case 'hook_unknown':
      return `the agent file of ${detail.host} has no hook "${detail.name}" that the control plane may run`;
    case 'target_unknown':
      return `target "${detail.name}" is not known`;
  }
};

/** One sentence; with the target in front when it concerns one. */
export const describeFleetProblem = ({ detail, target }: FleetProblem): string =>
  target === null ? textOf(detail) : `${target}: ${textOf(detail)}`;
