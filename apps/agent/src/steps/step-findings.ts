import { type AgentLedger, type Finding, makeFinding, openSteps } from '@lastgood/protocol';

/** The steps of a target that could not be taken back, as findings of the target. */
export function stepFindings(ledger: AgentLedger, target: string): Finding[] {
  return [...ledger.jobs.values()]
    .filter((job) => job.spec.target === target)
    .flatMap((job) => openSteps(job).flatMap((step) => (step.error === null ? [] : [{ job, step, error: step.error }])))
    .map(({ job, step, error }) =>
      makeFinding(
        'COMPENSATION_FAILED',
        { kind: 'target', name: target },
        { step: step.kind, job: job.jobId, error: error.code, reason: error.message },
      ),
    );
}
