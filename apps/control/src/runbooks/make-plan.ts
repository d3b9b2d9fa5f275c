import { createHash } from 'node:crypto';
import type { FleetFile, Runbook } from '@lastgood/core/fleet-file';
import { planRunbook } from '@lastgood/core/runbooks';
import type { RunbookMode, RunbookPlan } from '@lastgood/protocol';
import type { FleetInForce } from '../planner/fleet-policies.ts';
import { type FleetKnowledge, readHosts, readTargets } from './plan-scope.ts';

export interface PlanOrder {
  readonly runbook: string;
  readonly mode: RunbookMode;
  /** One instant for all targets; null for the newest of each. */
  readonly atMs: number | null;
  /** The steps that begin with their alternative. */
  readonly alternatives: readonly string[];
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex');

/** Every target that a step or an alternative restores. */
export function targetsOf({ steps }: Runbook): Set<string> {
  const actions = Object.values(steps).flatMap((step) => [step, ...(step.alternative ?? [])]);
  return new Set(actions.flatMap(({ restore }) => restore?.target ?? []));
}

/** The runbook of that name in a fleet file; undefined when it has none. */
export const runbookNamed = ({ runbooks }: FleetFile, name: string): Runbook | undefined =>
  Object.hasOwn(runbooks, name) ? runbooks[name] : undefined;

/** What a run or drill of a runbook would do now. Throws BAD_INPUT for an alternative that it does not have. */
export async function makePlan(
  knowledge: FleetKnowledge,
  { revision, file }: FleetInForce,
  runbook: Runbook,
  { runbook: name, mode, atMs, alternatives }: PlanOrder,
): Promise<RunbookPlan> {
  return planRunbook({
    ...{ name, runbook, revision, mode, alternatives, digest, contacts: file.contacts },
    instantMs: atMs,
    targets: await readTargets(knowledge, targetsOf(runbook)),
    hosts: await readHosts(knowledge),
  });
}
