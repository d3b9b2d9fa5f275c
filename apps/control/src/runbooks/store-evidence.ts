import { createHash } from 'node:crypto';
import { evidenceOf, evidenceText } from '@lastgood/core/evidence';
import type { RunbookRun } from '@lastgood/protocol';
import type { Catalog, Change } from '../catalog/catalog.ts';
import type { EvidenceKey } from './evidence-key.ts';

/**
 * The report of a run that has ended, and its audit record, to be committed with the end. Its number and the hash of the one before it chain
 * it: the caller commits one at a time.
 */
export async function evidenceChanges(
  catalog: Catalog,
  key: EvidenceKey,
  run: RunbookRun,
  now: number,
): Promise<Change[]> {
  const newest = await catalog.evidence.newest();
  const sequence = (newest?.sequence ?? 0) + 1;
  const text = evidenceText(evidenceOf(run, sequence, newest?.sha256 ?? null));
  const sha256 = createHash('sha256').update(text).digest('hex');
  const { runId, state, endedAt } = run;
  const { runbook, mode } = run.plan;
  return [
    {
      type: 'evidence.add',
      evidence: {
        ...{ sequence, runId, runbook, mode, state, endedAt: endedAt ?? now, sha256, text },
        signature: key.sign(text),
        publicKey: key.publicKey,
      },
    },
    {
      type: 'audit',
      entry: {
        at: now,
        actor: 'control',
        action: `runbook.${state}`,
        subject: runbook,
        detail: `${runId} evidence ${sequence} ${sha256}`,
      },
    },
  ];
}
