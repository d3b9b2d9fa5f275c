import type { FleetProblem, FleetProblemDetail } from './problems.ts';
import type { Runbook, RunbookStep } from './runbook-schema.ts';
import type { FleetFile } from './schema.ts';
import { type KnownTarget, nameOfTarget } from './validate-target.ts';

/** A host with the checks and hooks that its agent has reported. */
export interface KnownHost {
  /** `environment/host`. */
  readonly path: string;
  /** Null before the agent has reported them. */
  readonly checks: readonly string[] | null;
  readonly hooks: readonly string[] | null;
}
/** What runbooks name. An empty list of targets or hosts is not compared: an editor does not know them. */
interface Known {
  readonly targets: ReadonlySet<string>;
  readonly hosts: ReadonlyMap<string, KnownHost>;
}
type Path = readonly (string | number)[];
type Action = Partial<Pick<RunbookStep, 'restore' | 'check' | 'hook'>>;

const error = (path: Path, detail: FleetProblemDetail): FleetProblem => ({
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

/** The steps that can begin, in whatever order: each after others that can. */
function reachableSteps(steps: Runbook['steps']): ReadonlySet<string> {
  const reachable = new Set<string>();
  for (let before = -1; before !== reachable.size; ) {
    before = reachable.size;
    for (const [name, { after = [] }] of Object.entries(steps))
      if (after.every((each) => reachable.has(each))) reachable.add(name);
  }
  return reachable;
}

function checkOrder(path: Path, steps: Runbook['steps']): FleetProblem[] {
  const unknown = Object.entries(steps).flatMap(([step, { after = [] }]) =>
    after.flatMap((name, index) =>
      Object.hasOwn(steps, name) ? [] : [error([...path, step, 'after', index], { code: 'step_unknown', name })],
    ),
  );
  const cycle = findCycle(steps);
  const reachable = reachableSteps(steps);
  const unreachable = Object.keys(steps)
    .filter((name) => !reachable.has(name) && cycle?.includes(name) !== true)
    .filter((name) => steps[name]?.after?.every((before) => Object.hasOwn(steps, before)) === true)
    .map((name) => error([...path, name], { code: 'step_unreachable', name }));
  return [
    ...unknown,
    ...(cycle === undefined ? [] : [error([...path, cycle[0] ?? ''], { code: 'runbook_cycle', steps: cycle })]),
    ...unreachable,
  ];
}

function checkNamed(
  path: Path,
  kind: 'check' | 'hook',
  named: { host: string; name: string },
  known: Known,
): FleetProblem[] {
  if (known.hosts.size === 0) return [];
  const host = known.hosts.get(named.host);
  if (host === undefined) return [error([...path, 'host'], { code: 'host_unknown', name: named.host })];
  const names = kind === 'check' ? host.checks : host.hooks;
  if (names === null || names.includes(named.name)) return [];
  return [error([...path, 'name'], { code: `${kind}_unknown`, name: named.name, host: named.host })];
}

/** Targets that no agent has reported, and checks and hooks that a host does not define. */
function checkAction(path: Path, { restore, check, hook }: Action, known: Known): FleetProblem[] {
  const isUnknown = restore !== undefined && known.targets.size > 0 && !known.targets.has(restore.target);
  return [
    ...(isUnknown
      ? [error([...path, 'restore', 'target'], { code: 'target_unknown' as const, name: restore.target })]
      : []),
    ...(check === undefined ? [] : checkNamed([...path, 'check'], 'check', check, known)),
    ...(hook === undefined ? [] : checkNamed([...path, 'hook'], 'hook', hook, known)),
  ];
}

/**
 * What no run of a runbook could carry out: steps that do not exist, wait for one another or can never begin, and targets, checks and hooks
 * that no agent has reported (as far as any are known).
 */
export function checkRunbooks(
  file: FleetFile,
  targets: readonly KnownTarget[],
  hosts: readonly KnownHost[] = [],
): FleetProblem[] {
  const known: Known = {
    targets: new Set(targets.map(nameOfTarget)),
    hosts: new Map(hosts.map((host) => [host.path, host])),
  };
  return Object.entries(file.runbooks).flatMap(([name, { steps }]) => {
    const path = ['runbooks', name, 'steps'];
    const actions = Object.entries(steps).flatMap(([step, content]) => [
      ...checkAction([...path, step], content, known),
      ...(content.alternative ?? []).flatMap((action, index) =>
        checkAction([...path, step, 'alternative', index], action, known),
      ),
    ]);
    return [...checkOrder(path, steps), ...actions];
  });
}
