import type { EvidenceDocument, RunbookRun, RunStep, StepStatus } from '@lastgood/protocol';
import { Bug } from '../failure.ts';
import { stepMs } from '../runbooks/situation.ts';

const iso = (at: number): string => new Date(at).toISOString();

const personOf = (status: StepStatus): string | null =>
  status.state === 'succeeded' || status.state === 'skipped' ? status.by : null;

function reasonOf(status: StepStatus): string | null {
  if (status.state === 'skipped') return status.reason;
  return status.state === 'failed' ? status.error.code : null;
}

function stepOf(run: RunbookRun, step: RunStep, endedAt: number): EvidenceDocument['steps'][number] {
  const { name, status, startedAt, tries, results } = step;
  return {
    name,
    title: run.plan.steps.find((each) => each.name === name)?.title ?? name,
    state: status.state,
    startedAt: startedAt === null ? null : iso(startedAt),
    durationMs: stepMs(step, endedAt),
    tries,
    by: personOf(status),
    reason: reasonOf(status),
    jobs: results.map(({ jobId, command, state, durationMs, reached, level }) => ({
      ...{ jobId, command, state, durationMs, reached, level },
    })),
  };
}

/** The report of a run that has ended, as the next one of the chain. `previous` is the hash of the one before it. */
export function evidenceOf(run: RunbookRun, sequence: number, previous: string | null): EvidenceDocument {
  const { runId, plan, state, startedBy, startedAt, endedAt, acceptedSkew, steps, events } = run;
  if (endedAt === null) throw new Bug(`run ${runId} has not ended`);
  const { runbook, mode, revision, hash, rtoMs, set, contacts } = plan;
  const durationMs = endedAt - startedAt;
  const met = rtoMs === null || state !== 'succeeded' ? null : durationMs <= rtoMs;
  return {
    version: 1,
    kind: 'lastgood-evidence',
    ...{ sequence, previous, runId, runbook, mode, state },
    fleetRevision: revision,
    planHash: hash,
    startedBy,
    startedAt: iso(startedAt),
    endedAt: iso(endedAt),
    durationMs,
    objective: { rtoMs, met },
    recoverySet: {
      instant: set.instant,
      skewMs: set.skewMs,
      acceptedSkew: [...acceptedSkew],
      points: set.members.map(({ target, point: { at, basis, backupId } }) => ({ target, at, basis, backupId })),
    },
    steps: steps.map((step) => stepOf(run, step, endedAt)),
    events: events.map((event) => ({ ...event, at: iso(event.at) })),
    contacts: [...contacts],
  };
}

/** The text of a report: what is hashed, signed and exported. */
export const evidenceText = (document: EvidenceDocument): string => `${JSON.stringify(document, null, 2)}\n`;
