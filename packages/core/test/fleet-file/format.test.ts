import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { ALERT_CODES } from '../../src/alerts/index.ts';
import { fleetFileSchema, formatFleetFile } from '../../src/fleet-file/index.ts';
import { read } from './support.ts';

test('writes sections and keys in the order of the schema, and entries by name', () => {
  const file = read({
    policies: {
      b: { backup: [{ cron: '0 2 * * *', method: 'dump', window: '90m' }], select: {} },
      a: { select: { labels: { tier: 'x' } }, objectives: { rto: '4h', rpo: '60m' } },
    },
    environments: { staging: {}, prod: { timezone: 'Asia/Kathmandu' } },
  });
  expect(formatFleetFile(file)).toMatchInlineSnapshot(`
    "environments:
      prod:
        timezone: Asia/Kathmandu
      staging: {}
    policies:
      a:
        select:
          labels:
            tier: x
        objectives:
          rpo: 1h
          rto: 4h
      b:
        select: {}
        backup:
          - method: dump
            cron: 0 2 * * *
            window: 1h30m
    "
  `);
});

const name = fc.stringMatching(/^[a-z0-9][a-z0-9_-]{0,6}[a-z0-9]$/);
const names = fc.uniqueArray(name, { minLength: 1, maxLength: 3 });
const duration = fc.integer({ min: 0, max: 400 * 24 * 3600 }).map((seconds) => `${seconds}s`);
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 30 }).filter((each) => each.isWellFormed()),
  // Words that YAML reads as other types when they are not quoted.
  fc.constantFrom('no', 'null', '1e3', '0x10', '~', '- a', 'a: b', '# x', '2027-01-01', '<<', ' x ', '"', "'", 'a\nb'),
);
const optional = <T>(shape: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(shape, { requiredKeys: [] });
const scheduleShape = {
  name,
  timezone: fc.constantFrom('UTC', 'Europe/Berlin'),
  spread: duration,
  window: duration,
  maxRun: duration,
  catchUp: fc.constantFrom('none', 'last'),
};
const cron = { cron: fc.constantFrom('0 2 * * *', '*/5 * * * MON', '0 0 1,15 * *') };
const schedules = <T extends object>(extra: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.array(
    fc.tuple(optional(scheduleShape), fc.record({ ...cron, ...extra })).map((parts) => Object.assign({}, ...parts)),
    { minLength: 1, maxLength: 3 },
  );
const count = fc.integer({ min: 1, max: 1000 });
const policy = fc
  .tuple(
    fc.record({
      select: optional({
        environment: fc.oneof(name, names),
        engine: fc.oneof(name, names),
        labels: fc.dictionary(fc.stringMatching(/^[A-Za-z./-]{1,20}$/), text, { maxKeys: 3, noNullPrototype: true }),
      }),
    }),
    optional({
      description: text,
      objectives: optional({ rpo: duration, rto: duration, restoreTest: duration }),
      requireStream: fc.boolean(),
      backup: schedules({
        method: name,
        options: fc.dictionary(name, fc.oneof(fc.boolean(), fc.integer(), text), { maxKeys: 2, noNullPrototype: true }),
      }),
      verify: schedules({ level: fc.integer({ min: 0, max: 6 }) }),
      rotate: schedules({}),
      retention: optional({ keepLast: count, keepWithin: duration, window: duration, weekly: count, minimum: count }),
      alerts: optional({
        contacts: names,
        pings: names,
        repeat: duration,
        escalate: fc.record({ after: duration, contacts: names }),
        sizeChangePercent: fc.integer({ min: 1, max: 200 }),
        mute: fc.uniqueArray(fc.constantFrom(...ALERT_CODES), { minLength: 1, maxLength: 3 }),
      }),
    }),
  )
  .map(([select, rest]) => ({ ...select, ...rest }));
const step = fc
  .tuple(
    optional({ title: text, after: names }),
    fc.oneof(
      duration.map((wait) => ({ wait })),
      fc.record({ check: fc.record({ host: fc.constant('prod/db-1'), name }) }),
      fc.record({ notify: fc.record({ contacts: names, message: text.filter((each) => each !== '') }) }),
      fc.record({
        restore: fc.record({ target: fc.constant('prod/db-1/shop'), into: fc.constantFrom('swap', { new: 'x' }) }),
      }),
    ),
  )
  .map((parts) => Object.assign({}, ...parts));
const some = <T>(entry: fc.Arbitrary<T>) => fc.dictionary(name, entry, { maxKeys: 3, noNullPrototype: true });
const fleet = optional({
  environments: some(optional({ timezone: fc.constantFrom('America/Sao_Paulo', 'UTC'), description: text })),
  contacts: some(fc.record({ email: fc.constant(['dba@example.com']), environments: names })),
  policies: some(policy),
  runbooks: some(fc.record({ steps: fc.dictionary(name, step, { minKeys: 1, maxKeys: 3, noNullPrototype: true }) })),
});

test('any file is the same after it was written and read again, and writing it again changes nothing', () => {
  fc.assert(
    fc.property(fleet, (content) => {
      const file = read(content);
      const written = formatFleetFile(file);
      const again = fleetFileSchema.parse(parse(written));
      expect(again).toEqual(file);
      expect(formatFleetFile(again)).toBe(written);
    }),
    { numRuns: 300 },
  );
});
