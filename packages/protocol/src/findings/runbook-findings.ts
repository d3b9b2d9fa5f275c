import type { FindingDefinition } from './finding-definition.ts';

/** What the plan of a runbook finds. Errors refuse it. */
export const RUNBOOK_FINDINGS = {
  RUNBOOK_CHECK_UNDEFINED: {
    severity: 'error',
    message: 'the agent file of {host} has no check "{name}"',
    remedy: 'Define the check in the agent file of the host, then reload the agent.',
  },
  RUNBOOK_HOOK_UNDEFINED: {
    severity: 'error',
    message: 'the agent file of {host} has no hook "{name}" that the control plane may run',
    remedy: 'Define the hook in the agent file of the host, and name it in `allow.hooks` there.',
  },
  RUNBOOK_HOST_OFFLINE: {
    severity: 'warning',
    message: '{host} is offline; its steps wait for it',
    remedy: 'Start the agent of the host (`lastgood agent`).',
  },
  RUNBOOK_HOST_UNKNOWN: {
    severity: 'error',
    message: 'no agent is enrolled as {host}',
    remedy: 'Correct the runbook, or enroll the host (`lastgood tokens enroll`).',
  },
  RUNBOOK_NO_RECOVERY_POINT: {
    severity: 'error',
    message: '{subject} has no good backup that reaches the instant',
    remedy: 'Choose another instant, or take the alternative of the step.',
  },
  RUNBOOK_SCOPE_UNCLEAR: {
    severity: 'error',
    message: 'the backups of {subject} hold several databases: {databases:list}',
    remedy: 'Name one of them as `database` of the step.',
  },
  RUNBOOK_SKEW: {
    severity: 'warning',
    message: '{subject} goes back to {at}, which is {lag} before the newest point of the set',
    remedy: 'Accept it by name (`--accept-skew`), or choose an earlier instant for all (`--at`).',
  },
  RUNBOOK_TARGET_UNKNOWN: {
    severity: 'error',
    message: 'no agent has reported {subject}',
    remedy: 'Correct the runbook, or start the agent of the host.',
  },
  RUNBOOK_UNTESTED: {
    severity: 'warning',
    message: 'the backup {backup} of {subject} was never restore-tested',
    remedy: 'Drill the runbook (`lastgood runbooks drill`), on a schedule.',
  },
  RUNBOOK_RTO_ESTIMATE: {
    severity: 'warning',
    message: 'the steps take {estimate} by measured restores, more than the objective (RTO) of {rto}',
    remedy: 'Restore in parallel, make restores faster, or change the objective.',
  },
} as const satisfies Record<string, FindingDefinition>;
