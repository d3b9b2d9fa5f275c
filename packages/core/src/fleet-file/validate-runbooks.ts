import type { FleetProblem, FleetProblemDetail } from './problems.ts';
import type { Runbook } from './runbook-schema.ts';
import type { FleetFile } from './schema.ts';
import { type KnownTarget, nameOfTarget } from './validate-target.ts';

const error = (path: readonly (string | number)[], detail: FleetProblemDetail): FleetProblem => ({
  severity: 'error',
  path,
  target: null,
  detail,
});

/** The first steps that wait for one another, in the order of their waiting; undefined when the graph has no cycle. */
function findCycle(steps: Runbook['steps']): string[] | undefined {
  const done = new Set<string>();
  const visit = (name: string, trail: readonly string[]): string[] | undefined => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name];
    if (done.has(name)) return undefined;
    for (const before of steps[name]?.after ?? []) {
      const cycle = visit(before, [...trail, name]);
      if (cycle !== undefined) return cycle;
    }
    done.add(name);
    return undefined;
  };
  for (const name of Object.keys(steps)) {
    const cycle = visit(name, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

function checkRunbook(name: string, { steps }: Runbook, targets: ReadonlySet<string> | null): FleetProblem[] {
  const path = ['runbooks', name, 'steps'];
  const unknown = Object.entries(steps).flatMap(([step, { after = [] }]) =>
    after.flatMap((before, index) =>
      Object.hasOwn(steps, before)
        ? []
        : [error([...path, step, 'after', index], { code: 'step_unknown', name: before })],
    ),
  );
  const restores = Object.entries(steps).flatMap(([step, { restore }]) =>
    restore === undefined || targets?.has(restore.target) !== false
      ? []
      : [error([...path, step, 'restore', 'target'], { code: 'target_unknown', name: restore.target })],
  );
  const cycle = findCycle(steps);
  return [
    ...unknown,
    ...restores,
    ...(cycle === undefined ? [] : [error([...path, cycle[0] ?? ''], { code: 'runbook_cycle', steps: cycle })]),
  ];
}

/** Steps that do not exist or wait for one another, and targets that no agent has reported (when any are known). */
export function checkRunbooks(file: FleetFile, targets: readonly KnownTarget[]): FleetProblem[] {
  const known = targets.length === 0 ? null : new Set(targets.map(nameOfTarget));
  return Object.entries(file.runbooks).flatMap(([name, runbook]) => checkRunbook(name, runbook, known));
}
