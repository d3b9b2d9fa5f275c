import type { EffectivePolicy, MatchTarget } from './match.ts';
import type { FleetProblem, FleetProblemDetail, ProblemSeverity } from './problems.ts';
import { checkRpo } from './rpo-check.ts';
import type { FleetFile } from './schema.ts';

/** A target that an agent has reported, with what its agent file allows. */
export interface KnownTarget extends MatchTarget {
  readonly hostLimits: { readonly minimumKept: number; readonly minimumAgeMs: number } | null;
  /** True when its backups are encrypted. */
  readonly isEncrypted: boolean;
  /** True when its host, or another one that verifies its backups, has a key. */
  readonly canDecrypt: boolean;
  /** What its engine can do; null when not reported. */
  readonly capabilities: { readonly methods: readonly string[]; readonly hasStream: boolean } | null;
}
export const nameOfTarget = ({ environment, host, target }: MatchTarget): string => `${environment}/${host}/${target}`;

/** From this level on the bytes are decoded, which needs the key of an encrypted backup. */
const DECODING_LEVEL = 2;

type Found = readonly [ProblemSeverity, readonly (string | number)[], FleetProblemDetail];

function checkRetention(
  policy: EffectivePolicy,
  { hostLimits }: KnownTarget,
  path: (rule: string) => (string | number)[],
): Found[] {
  const { retention } = policy;
  if (retention === null || hostLimits === null) return [];
  const found: Found[] = [];
  const below = (rule: string, limit: string): Found => [
    'error',
    path(rule),
    { code: 'retention_below_host_limits', rule, limit },
  ];
  if (retention.minimum !== undefined && retention.minimum < hostLimits.minimumKept)
    found.push(below('minimum', `at least ${hostLimits.minimumKept} backups are kept`));
  const hours = hostLimits.minimumAgeMs / 3_600_000;
  for (const rule of ['keepWithin', 'window'] as const)
    if ((retention[rule] ?? Number.POSITIVE_INFINITY) < hostLimits.minimumAgeMs)
      found.push(below(rule, `nothing younger than ${hours} hours is removed`));
  return found;
}

function checkCapabilities(policy: EffectivePolicy, target: KnownTarget, name: string): Found[] {
  const { capabilities, engine } = target;
  const found: Found[] = [];
  for (const { work, policies } of policy.schedules) {
    const path = ['policies', policies[0] ?? name];
    if (work.command === 'backup' && capabilities?.methods.includes(work.method) === false)
      found.push(['error', [...path, 'backup'], { code: 'method_unsupported', method: work.method, engine }]);
    if (work.command === 'verify' && work.level >= DECODING_LEVEL && target.isEncrypted && !target.canDecrypt)
      found.push(['error', [...path, 'verify'], { code: 'verification_needs_key', level: work.level }]);
  }
  return found;
}

/** The policies of a target that hold a key, as the path of its first one. */
function pathTo(file: FleetFile, policy: EffectivePolicy, ...keys: readonly string[]): (string | number)[] {
  const holder = policy.policies.find((name) => {
    let value: unknown = file.policies[name];
    for (const key of keys) value = typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined;
    return value !== undefined;
  });
  return ['policies', holder ?? policy.policies[0] ?? '', ...keys];
}

function isNotified(file: FleetFile, policy: EffectivePolicy, environment: string): boolean {
  return policy.alerts.contacts.some((name) => {
    const contact = file.contacts[name];
    return contact !== undefined && (contact.environments === undefined || contact.environments.includes(environment));
  });
}

/** What is wrong with the policies of one target. */
export function checkTarget(
  file: FleetFile,
  target: KnownTarget,
  policy: EffectivePolicy | null,
  nowMs: number,
): FleetProblem[] {
  const name = nameOfTarget(target);
  if (policy === null) return [{ severity: 'warning', path: [], target: name, detail: { code: 'target_unprotected' } }];
  const found: Found[] = [
    ...policy.conflicts.map(
      ({ name: schedule, policies, path }): Found => [
        'error',
        path,
        { code: 'schedule_conflict', name: schedule, policies },
      ],
    ),
    ...checkRetention(policy, target, (rule) => pathTo(file, policy, 'retention', rule)),
    ...checkCapabilities(policy, target, policy.policies[0] ?? ''),
  ];
  const rpo = checkRpo(policy, nowMs);
  if (rpo !== null)
    found.push([rpo.code === 'rpo_tight' ? 'warning' : 'error', pathTo(file, policy, 'objectives', 'rpo'), rpo]);
  if (policy.requireStream && target.capabilities?.hasStream === false)
    found.push(['error', pathTo(file, policy, 'requireStream'), { code: 'stream_unsupported', engine: target.engine }]);
  if (!isNotified(file, policy, target.environment))
    found.push(['warning', pathTo(file, policy, 'alerts', 'contacts'), { code: 'nobody_notified' }]);
  return found.map(([severity, path, detail]) => ({ severity, path, target: name, detail }));
}
