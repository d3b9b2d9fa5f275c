import { unsupportedRules } from './job-spec.ts';
import { combinePolicies, covers, effectivePolicy, type MatchTarget, selects } from './match.ts';
import type { FleetProblem, FleetProblemDetail, ProblemSeverity } from './problems.ts';
import { checkRpo } from './rpo-check.ts';
import type { FleetFile, Policy } from './schema.ts';
import { checkRunbooks, type KnownHost } from './validate-runbooks.ts';
import { checkTarget, type KnownTarget } from './validate-target.ts';

/** What the control plane knows when it checks a file. An editor checks without targets and channels. */
export interface FleetFacts {
  readonly nowMs: number;
  readonly targets: readonly KnownTarget[];
  /** The hosts that runbooks may name; not compared when absent. */
  readonly hosts?: readonly KnownHost[];
  /** The channels of the notification file; null when not known. */
  readonly channels: ReadonlySet<string> | null;
}

type Path = readonly (string | number)[];
const problem = (severity: ProblemSeverity, path: Path, detail: FleetProblemDetail): FleetProblem => ({
  severity,
  path,
  target: null,
  detail,
});

interface Reference {
  readonly path: Path;
  readonly name: string;
}
const references = (path: Path, names: string | readonly string[] | undefined): Reference[] =>
  names === undefined
    ? []
    : typeof names === 'string'
      ? [{ path, name: names }]
      : names.map((name, index) => ({ path: [...path, index], name }));

/** Every place that names a contact, an environment or a channel. */
function referencesOf(file: FleetFile): Record<'contact' | 'environment' | 'channel', Reference[]> {
  const contacts = Object.entries(file.contacts);
  const policies = Object.entries(file.policies);
  return {
    contact: [
      ...policies.flatMap(([name, { alerts }]) => [
        ...references(['policies', name, 'alerts', 'contacts'], alerts?.contacts),
        ...references(['policies', name, 'alerts', 'escalate', 'contacts'], alerts?.escalate?.contacts),
      ]),
      ...Object.entries(file.runbooks).flatMap(([name, { contacts: shown, steps }]) => [
        ...references(['runbooks', name, 'contacts'], shown),
        ...Object.entries(steps).flatMap(([step, { notify }]) =>
          references(['runbooks', name, 'steps', step, 'notify', 'contacts'], notify?.contacts),
        ),
      ]),
    ],
    environment: [
      ...contacts.flatMap(([name, { environments }]) => references(['contacts', name, 'environments'], environments)),
      ...policies.flatMap(([name, { select }]) =>
        references(['policies', name, 'select', 'environment'], select.environment),
      ),
    ],
    channel: [
      ...contacts.flatMap(([name, { channels }]) => references(['contacts', name, 'channels'], channels)),
      ...policies.flatMap(([name, { alerts }]) => references(['policies', name, 'alerts', 'pings'], alerts?.pings)),
    ],
  };
}

function checkReferences(file: FleetFile, channels: ReadonlySet<string> | null): FleetProblem[] {
  const { contact, environment, channel } = referencesOf(file);
  return [
    ...contact
      .filter(({ name }) => !Object.hasOwn(file.contacts, name))
      .map(({ path, name }) => problem('error', path, { code: 'contact_unknown', name })),
    ...environment
      .filter(({ name }) => !Object.hasOwn(file.environments, name))
      .map(({ path, name }) => problem('error', path, { code: 'environment_unknown', name })),
    ...channel
      .filter(({ name }) => channels?.has(name) === false)
      .map(({ path, name }) => problem('error', path, { code: 'channel_unknown', name })),
  ];
}

/** A target that stands for all those of a policy: every policy that covers its selector holds for it as well. */
function classOf(file: FleetFile, name: string, { select }: Policy): { target: MatchTarget; policies: string[] } {
  const first = (value: string | readonly string[] | undefined): string => [value ?? 'any'].flat()[0] ?? 'any';
  const policies = Object.entries(file.policies)
    .filter(([other, { select: outer }]) => other === name || covers(outer, select))
    .map(([other]) => other)
    .toSorted();
  const target = {
    environment: first(select.environment),
    host: first(select.host),
    target: first(select.target),
    engine: first(select.engine),
    labels: select.labels ?? {},
  };
  return { target, policies };
}

/** What holds for a policy whatever targets exist. */
function checkPolicy(file: FleetFile, name: string, policy: Policy, nowMs: number): FleetProblem[] {
  const { target, policies } = classOf(file, name, policy);
  const combined = combinePolicies(file, target, policies);
  const found: FleetProblem[] = combined.conflicts
    .filter((conflict) => conflict.path[1] === name)
    .map(({ name: schedule, policies: both, path }) =>
      problem('error', path, { code: 'schedule_conflict', name: schedule, policies: both }),
    );
  if (policy.objectives?.rpo !== undefined) {
    const rpo = checkRpo(combined, nowMs);
    const severity = rpo?.code === 'rpo_tight' ? 'warning' : 'error';
    if (rpo !== null) found.push(problem(severity, ['policies', name, 'objectives', 'rpo'], rpo));
  }
  const rotates = combined.schedules.some(({ work }) => work.command === 'rotate');
  if (policy.retention !== undefined && !rotates)
    found.push(problem('warning', ['policies', name, 'retention'], { code: 'rotation_not_scheduled' }));
  if (policy.rotate !== undefined && combined.retention === null)
    found.push(problem('warning', ['policies', name, 'rotate'], { code: 'rotate_without_retention' }));
  for (const rule of rotates ? unsupportedRules(policy.retention ?? {}) : [])
    found.push(problem('warning', ['policies', name, 'retention', rule], { code: 'retention_rule_unsupported', rule }));
  return found;
}

function checkMatches(file: FleetFile, targets: readonly KnownTarget[]): FleetProblem[] {
  if (targets.length === 0) return [];
  return Object.entries(file.policies)
    .filter(([, { select }]) => !targets.some((target) => selects(select, target)))
    .map(([name]) => problem('warning', ['policies', name, 'select'], { code: 'policy_matches_nothing' }));
}

/**
 * Checks a file beyond its schema: references, schedules, objectives, runbooks, and each known target. A problem of a policy is reported
 * once, not again for each of its targets.
 */
export function validateFleetFile(file: FleetFile, facts: FleetFacts): FleetProblem[] {
  const ofPolicies = Object.entries(file.policies).flatMap(([name, policy]) =>
    checkPolicy(file, name, policy, facts.nowMs),
  );
  const known = new Set(ofPolicies.map(({ path, detail }) => JSON.stringify([path, detail.code])));
  const ofTargets = facts.targets
    .flatMap((target) => checkTarget(file, target, effectivePolicy(file, target), facts.nowMs))
    .filter(({ path, detail }) => !known.has(JSON.stringify([path, detail.code])));
  return [
    ...checkReferences(file, facts.channels),
    ...ofPolicies,
    ...checkMatches(file, facts.targets),
    ...ofTargets,
    ...checkRunbooks(file, facts.targets, facts.hosts),
  ];
}
