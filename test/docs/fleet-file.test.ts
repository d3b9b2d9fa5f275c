import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatProblems } from '@lastgood/core/config-file';
import { effectivePolicy, fleetFileJsonSchema, formatFleetFile, parseFleetFile } from '@lastgood/core/fleet-file';
import { root } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const text = readFileSync(join(root, 'examples/rulex.yaml'), 'utf8');
const target = (host: string, name: string, engine: string, methods: string[]) => ({
  environment: 'prod',
  host,
  target: name,
  engine,
  labels: engine === 'postgres' ? { tier: 'critical' } : {},
  hostLimits: { minimumKept: 3, minimumAgeMs: 0 },
  isEncrypted: true,
  canDecrypt: true,
  capabilities: { methods, hasStream: engine === 'postgres' },
});
const targets = [
  target('db-1', 'postgres', 'postgres', ['logical', 'physical']),
  target('cache-1', 'redis', 'redis', ['rdb', 'aof']),
  target('graph-1', 'neo4j', 'neo4j', ['dump']),
];
const facts = { nowMs: Date.parse('2027-01-01T00:00:00Z'), targets, channels: new Set<string>() };

test('docs/fleet-file.schema.json is the schema that files are checked with (vitest -u writes it)', async () => {
  const schema = `${JSON.stringify(fleetFileJsonSchema(), null, 2)}\n`;
  await expect(schema).toMatchFileSnapshot('../../docs/fleet-file.schema.json');
});

const page = readFileSync(join(root, 'docs/fleet-file.md'), 'utf8');

interface Schema {
  readonly properties?: Record<string, Schema>;
  readonly additionalProperties?: Schema | boolean;
  readonly items?: Schema;
}
/** Every key that a file may have, as the page writes it. */
function keysOf({ properties = {}, additionalProperties, items }: Schema, path: string): string[] {
  const nested = Object.entries(properties).flatMap(([name, schema]) =>
    keysOf(schema, path === '' ? name : `${path}.${name}`),
  );
  if (nested.length > 0) return nested;
  if (items?.properties !== undefined) return keysOf(items, `${path}[]`);
  if (typeof additionalProperties === 'object' && additionalProperties.properties !== undefined)
    return keysOf(additionalProperties, `${path}.<name>`);
  return [path];
}

test('docs/fleet-file.md explains every key of the file, runbooks aside, and no other', () => {
  const keys = keysOf(fleetFileJsonSchema(), '').filter((key) => !key.startsWith('runbooks'));
  // The keys that all schedules share are explained once.
  const shared = /^policies\.<name>\.(?:verify|rotate|copy)\[\]\.(?!level$)/;
  const explained = [...page.matchAll(/^\| `([a-zA-Z.<>[\]]+)` \| /gm)].map((row) => row[1] ?? '');
  expect(explained).toEqual(keys.filter((key) => !shared.test(key)));
});

test('the example of docs/fleet-file.md is valid', () => {
  const example = /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '';
  const { errors, warnings } = parseFleetFile(example, { ...facts, targets: [] });
  expect(formatProblems('example', [...errors, ...warnings])).toBe('');
});

test('examples/rulex.yaml is valid for its three targets, with warnings about a tight RPO and a rule of retention', () => {
  const { file, errors, warnings, problems } = parseFleetFile(text, facts);
  expect(formatProblems('rulex.yaml', errors)).toBe('');
  expect(file).not.toBeNull();
  expect(problems.map(({ detail }) => detail.code)).toEqual(['retention_rule_unsupported', 'rpo_tight']);
  expect(formatProblems('rulex.yaml', warnings)).toMatch(
    /^rulex\.yaml:\d+:24 policies\.neo4j\.objectives\.rpo backups are up to 1d apart/m,
  );
});

test('examples/rulex.yaml has the objectives, schedules, retention and contacts of the fleet it describes', () => {
  const { file } = parseFleetFile(text, facts);
  if (file === null) return expect.unreachable('the example is invalid');
  const summary = targets.map((each) => {
    const policy = effectivePolicy(file, each);
    return {
      target: each.target,
      rpo: (policy?.objectives.rpoMs ?? 0) / 3_600_000,
      rto: (policy?.objectives.rtoMs ?? 0) / 3_600_000,
      keepDays: (policy?.retention?.keepWithin ?? 0) / 86_400_000,
      backups: policy?.schedules
        .filter(({ work }) => work.command === 'backup')
        .map(({ schedule }) => `${schedule.cron} ${schedule.timezone}`),
      contacts: policy?.alerts.contacts,
    };
  });
  expect(summary).toEqual([
    {
      target: 'postgres',
      rpo: 1,
      rto: 4,
      keepDays: 7,
      backups: ['0 2 * * * America/Sao_Paulo', '0 3 * * 0 America/Sao_Paulo'],
      contacts: ['dba', 'devops'],
    },
    { target: 'redis', rpo: 24, rto: 1, keepDays: 3, backups: ['0 */6 * * * America/Sao_Paulo'], contacts: ['devops'] },
    {
      target: 'neo4j',
      rpo: 24,
      rto: 4,
      keepDays: 7,
      backups: ['0 3 * * * America/Sao_Paulo'],
      contacts: ['dba', 'devops'],
    },
  ]);
  expect(Object.values(file.contacts).flatMap(({ email }) => email ?? [])).toEqual([
    'dba@empresa.com',
    'devops@empresa.com',
    'support@cognition.ai',
  ]);
});

test('examples/rulex.yaml is the same file after an export', () => {
  const { file } = parseFleetFile(text, facts);
  if (file === null) return expect.unreachable('the example is invalid');
  const exported = formatFleetFile(file);
  expect(parseFleetFile(exported, facts).file).toEqual(file);
  expect(exported.split('\n').slice(0, 4)).toEqual([
    'environments:',
    '  prod:',
    '    timezone: America/Sao_Paulo',
    'contacts:',
  ]);
});
