import { describe, expect, test } from 'vitest';
import { parseFleetFile } from '../../src/fleet-file/index.ts';
import { check, facts, target } from './support.ts';

test('reports every problem at once, each with its place', () => {
  const text = `environments:
  prod: { timezone: Mars/Olympus }
contacts:
  dba: { email: [not-an-address] }
  empty: {}
policies:
  bad:
    select: { engin: postgres }
    objectives: { rpo: soon }
    backup: [{ method: logical, cron: "0 2 * * *" }]
    alerts: { contacts: [nobody] }
  good:
    select: { environment: staging }
    backup: [{ method: logical, cron: "0 2 * *" }, { method: physical, cron: "0 2 31 2 *" }]
    verify: [{ level: 9, cron: "0 5 * * *" }]
  fine:
    select: {}
    backup: [{ method: logical, cron: "61 2 * * *", timezone: Nowhere }]
    alerts: { contacts: [dba, devops], mute: [backup_size] }
  last:
    select: { environment: staging }
    verify: [{ level: 1, cron: "0 2 30 2 *" }]
    alerts: { contacts: [dba] }
  references:
    select: { environment: staging }
    alerts: { contacts: [dba, ops] }
runbooks:
  all:
    steps:
      a: { after: [b], wait: 1m }
      b: { after: [c, x], check: { host: prod/db-1, name: ping } }
      c: { after: [a], wait: 1m }
      d: { wait: 1m, check: { host: db-1, name: ping } }
  rest:
    steps:
      a: { after: [b], wait: 1m }
      b: { after: [a, x], wait: 1m }
`;
  expect(check(text).map((line) => line.replace(/Invalid option.*/, 'Invalid option'))).toEqual([
    'error f:2:21 environments.prod.timezone unknown time zone "Mars/Olympus"',
    'error f:4:18 contacts.dba.email.0 Invalid email address',
    'error f:5:10 contacts.empty give email, channels or both',
    'error f:8:22 policies.bad.select.engin unknown key',
    'error f:9:24 policies.bad.objectives.rpo use a duration like 30m, 1h30m or 7d',
    'error f:14:39 policies.good.backup.0.cron invalid cron expression "0 2 * *": use five fields, separated by one space',
    'error f:14:78 policies.good.backup.1.cron "0 2 31 2 *" never fires',
    'error f:15:23 policies.good.verify.0.level use a level from 0 to 6',
    'error f:18:39 policies.fine.backup.0.cron invalid cron expression "61 2 * * *": Invalid value for minute: 61',
    'error f:18:63 policies.fine.backup.0.timezone unknown time zone "Nowhere"',
    'error f:19:47 policies.fine.alerts.mute.0 Invalid option',
    'error f:22:32 policies.last.verify.0.cron "0 2 30 2 *" never fires',
    'error f:25:28 policies.references.select.environment environment "staging" is not in this file',
    'error f:26:31 policies.references.alerts.contacts.1 contact "ops" is not in this file',
    'error f:33:10 runbooks.all.steps.d use exactly one of restore, check, hook, wait, approve, notify',
    'error f:33:37 runbooks.all.steps.d.check.host name a host as environment/host',
    'error f:36:10 runbooks.rest.steps.a steps wait for each other: a → b → a',
    'error f:37:23 runbooks.rest.steps.b.after.1 step "x" is not in this runbook',
  ]);
});

test('an empty text is an empty fleet', () => {
  expect(parseFleetFile('', facts()).file).toEqual({ environments: {}, contacts: {}, policies: {}, runbooks: {} });
});

const policy = (lines: string): string => `policies:\n  p:\n    select: {}\n${lines.replace(/^/gm, '    ')}\n`;

describe('an RPO', () => {
  const rpo = (value: string, ...backup: string[]): string[] =>
    check(
      policy(
        `objectives: { rpo: ${value} }\nbackup: [${backup.map((cron) => `{ method: logical, name: "b${cron.length}${backup.indexOf(cron)}", cron: "${cron}" }`).join(', ')}]`,
      ),
    ).map((line) => line.split(' ').slice(0, 1)[0] + (/up to (\w+)/.exec(line)?.[1] ?? ''));
  test('that the schedule keeps is accepted', () => {
    expect(rpo('36h', '0 2 * * *')).toEqual([]);
    expect(rpo('4h', '0 * * * *')).toEqual([]);
    expect(rpo('16h', '0 2 * * *', '0 14 * * *')).toEqual([]);
  });
  test('that is as long as the interval is accepted with a warning', () => {
    expect(rpo('24h', '0 2 * * *')).toEqual(['warning1d']);
  });
  test('that the schedule cannot keep is refused, with the longest gap', () => {
    expect(rpo('12h', '0 2 * * *')).toEqual(['error1d']);
    expect(rpo('24h', '0 2 * * 1-5')).toEqual(['error3d']);
    expect(rpo('10h', '0 2 * * *', '0 14 * * *')).toEqual(['error12h']);
  });
  test('of a day is kept by a daily backup also where a night has 25 hours', () => {
    const daily = `objectives: { rpo: 24h }\nbackup: [{ method: logical, cron: "0 2 * * *", timezone: Europe/Berlin }]`;
    expect(check(policy(daily)).map((line) => line.split(' ')[0])).toEqual(['warning']);
  });
  test('without any backup is refused', () => {
    expect(check(policy('objectives: { rpo: 1h }'))).toEqual([
      'error f:4:24 policies.p.objectives.rpo an RPO of 1h needs a backup schedule or requireStream',
    ]);
  });
  test('is kept by a required log stream', () => {
    expect(check(policy('objectives: { rpo: 1h }\nrequireStream: true'))).toEqual([]);
  });
  test('is kept by the schedule of another policy that selects the same targets', () => {
    const other = '  hourly:\n    select: {}\n    backup: [{ method: logical, cron: "*/30 * * * *" }]\n';
    expect(check(`${policy('objectives: { rpo: 1h }')}${other}`)).toEqual([]);
    const narrower = other.replace('{}', '{ engine: redis }');
    expect(check(`${policy('objectives: { rpo: 1h }')}${narrower}`)).toHaveLength(1);
  });
});

describe('schedules of one name', () => {
  test('that differ within a policy are refused', () => {
    const two = 'backup: [{ method: logical, cron: "0 2 * * *" }, { method: logical, cron: "0 14 * * *" }]';
    expect(check(policy(two))).toEqual([
      'error f:4:54 policies.p.backup.1 schedule "backup-logical" differs from that of policy p; give one of them another name',
    ]);
  });
  test('that differ between policies are refused when a target has both, and reported once', () => {
    const text = `policies:
  a: { select: { engine: postgres }, backup: [{ method: logical, cron: "0 2 * * *" }] }
  b: { select: { labels: { tier: gold } }, backup: [{ method: logical, cron: "0 4 * * *" }] }
`;
    expect(check(text)).toEqual([]);
    const targets = [target({ labels: { tier: 'gold' } }), target({ host: 'db-2' })];
    const found = check(text, { targets }).filter((line) => line.startsWith('error'));
    expect(found).toEqual([
      'error f:3:53 policies.b.backup.0 prod/db-1/shop: schedule "backup-logical" differs from that of policy a; give one of them another name',
    ]);
  });
});

describe('known targets', () => {
  const contacts = 'contacts: { dba: { email: [dba@example.com] } }\n';
  const alerts = 'alerts: { contacts: [dba] }\n';
  const found = (lines: string, more: Parameters<typeof target>[0]): string[] =>
    check(`${contacts}${policy(`${alerts}${lines}`)}`, { targets: [target(more)] });

  test('retention below the host limits is refused', () => {
    const retention = 'retention: { keepWithin: 1d, minimum: 2 }\nrotate: [{ cron: "0 8 * * *" }]';
    expect(found(retention, { hostLimits: { minimumKept: 3, minimumAgeMs: 48 * 3_600_000 } })).toEqual([
      'error f:6:30 policies.p.retention.keepWithin prod/db-1/shop: keepWithin is below the host limits (nothing younger than 48 hours is removed)',
      'error f:6:43 policies.p.retention.minimum prod/db-1/shop: minimum is below the host limits (at least 3 backups are kept)',
    ]);
    expect(found(retention, { hostLimits: { minimumKept: 2, minimumAgeMs: 0 } })).toEqual([]);
  });

  test('a rule that rotation cannot carry out yet is reported', () => {
    const retention = 'retention: { keepWithin: 1d, window: 12h }\nrotate: [{ cron: "0 8 * * *" }]';
    expect(found(retention, {})).toEqual([
      'warning f:6:42 policies.p.retention.window rotation cannot carry out the rule "window" yet; nothing is removed, because rotating without it would remove too much',
    ]);
  });

  test('verification that decodes is refused where no host has the key of an encrypted backup', () => {
    const verify = 'verify: [{ level: 1, cron: "0 5 * * *" }, { level: 2, cron: "0 6 * * *" }]';
    expect(found(verify, { isEncrypted: true })).toEqual([
      'error f:6:13 policies.p.verify prod/db-1/shop: level 2 decodes the backup, and its host has no key to decrypt it',
    ]);
    expect(found(verify, { isEncrypted: true, canDecrypt: true })).toEqual([]);
    expect(found(verify, { isEncrypted: false })).toEqual([]);
  });

  test('methods and streams that the engine does not have are refused', () => {
    const text = 'requireStream: true\nbackup: [{ method: physical, cron: "0 2 * * *" }]';
    const capabilities = { methods: ['dump'], hasStream: false };
    expect(found(text, { engine: 'neo4j', capabilities })).toEqual([
      'error f:6:20 policies.p.requireStream prod/db-1/shop: neo4j has no log stream on this target',
      'error f:7:13 policies.p.backup prod/db-1/shop: neo4j has no backup method "physical"',
    ]);
  });

  test('a target without a policy, a policy without targets, and alerts that reach nobody are warnings', () => {
    const text = `environments: { prod: {}, staging: {} }
contacts: { dba: { email: [dba@example.com], environments: [staging] } }
policies:
  a: { select: { engine: redis } }
  b: { select: { host: db-2 }, alerts: { contacts: [dba] } }
`;
    const { problems, file } = parseFleetFile(text, facts({ targets: [target(), target({ host: 'db-2' })] }));
    expect(file).not.toBeNull();
    expect(problems.map(({ detail, target: name }) => `${detail.code} ${name}`)).toEqual([
      'policy_matches_nothing null',
      'target_unprotected prod/db-1/shop',
      'nobody_notified prod/db-2/shop',
    ]);
  });

  test('retention without rotation, and rotation without retention, are warnings', () => {
    expect(found('retention: { keepLast: 3 }', {})).toEqual([
      'warning f:6:16 policies.p.retention nothing is removed: the policy has retention rules and no rotate schedule',
    ]);
    expect(found('rotate: [{ cron: "0 8 * * *" }]', {})).toEqual([
      'warning f:6:13 policies.p.rotate rotation without a retention rule keeps everything',
    ]);
  });

  test('a runbook with steps that can never begin is refused', () => {
    const steps =
      'a: { after: [b], wait: 1m }, b: { after: [a], wait: 1m }, c: { after: [b], wait: 1m }, d: { wait: 1m }';
    expect(check(`${contacts}runbooks:\n  r:\n    steps: { ${steps} }\n`)).toEqual([
      'error f:4:17 runbooks.r.steps.a steps wait for each other: a → b → a',
      'error f:4:75 runbooks.r.steps.c step "c" can never begin: it waits for steps that wait for each other or do not exist',
    ]);
  });

  test('a runbook that names a check or hook that its host does not define is refused, in alternatives too', () => {
    const hosts = [
      { path: 'prod/db-1', checks: ['ok'], hooks: [] },
      { path: 'prod/new', checks: null, hooks: null },
    ];
    const text = `${contacts}runbooks:
  r:
    steps:
      a: { check: { host: prod/db-1, name: ok }, alternative: [{ hook: { host: prod/db-1, name: go } }] }
      b: { check: { host: prod/db-1, name: other } }
      c: { check: { host: prod/db-9, name: ok } }
      d: { check: { host: prod/new, name: not-reported-yet } }
`;
    expect(check(text, { hosts }).map((line) => line.replace(/ f:\d+:\d+ /, ' '))).toEqual([
      'error runbooks.r.steps.a.alternative.0.hook.name the agent file of prod/db-1 has no hook "go" that the control plane may run',
      'error runbooks.r.steps.b.check.name the agent file of prod/db-1 has no check "other"',
      'error runbooks.r.steps.c.check.host no agent is enrolled as "prod/db-9"',
    ]);
    expect(check(text)).toEqual([]);
  });

  test('a runbook that restores an unknown target is refused', () => {
    const text = `${contacts}runbooks:\n  r:\n    steps:\n      s: { restore: { target: prod/db-9/shop, into: swap } }\n`;
    expect(check(text, { targets: [target()] }).filter((line) => line.startsWith('error'))).toEqual([
      'error f:5:31 runbooks.r.steps.s.restore.target target "prod/db-9/shop" is not known',
    ]);
    expect(check(text)).toEqual([]);
  });
});

test('channels are checked against the notification file', () => {
  const text = 'contacts: { ops: { channels: [slack, pager] } }\n';
  expect(check(text, { channels: new Set(['slack']) })).toEqual([
    'error f:1:38 contacts.ops.channels.1 channel "pager" is not in the notification file of the control plane',
  ]);
  expect(check(text)).toEqual([]);
});
