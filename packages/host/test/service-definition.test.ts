import { expect, test } from 'vitest';
import { z } from 'zod';
import { resolveService, serviceDefinitionSchema } from '../src/index.ts';

const command = {
  kind: 'command',
  start: ['/opt/db/start'],
  stop: ['/opt/db/stop', '--wait'],
  status: ['/opt/db/status'],
};
const accepts = (definition: unknown): boolean => serviceDefinitionSchema.safeParse(definition).success;

for (const unit of [
  'redis.service',
  'postgresql@15-main.service',
  'systemd-fsck@dev-disk-by\\x2duuid.service',
  'dbus-org.freedesktop.login1.service',
  'a:b_c.d@e@f.service',
  `${'n'.repeat(247)}.service`,
])
  test(`accepts the unit ${unit.slice(0, 50)}`, () => {
    expect(accepts({ kind: 'systemd', unit })).toBe(true);
  });

for (const unit of [
  '',
  '.service',
  'redis',
  'redis.socket',
  'postgresql@.service',
  '@15-main.service',
  '--now.service',
  'redis*.service',
  'redis service.service',
  'redis.service\n',
  'a/b.service',
  '../redis.service',
  'redis.service;reboot.service',
  'rédis.service',
  `${'n'.repeat(248)}.service`,
])
  test(`refuses the unit ${JSON.stringify(unit).slice(0, 50)}`, () => {
    expect(accepts({ kind: 'systemd', unit })).toBe(false);
  });

test('accepts commands as argument vectors that begin with an absolute path', () => {
  expect(accepts(command)).toBe(true);
  expect(accepts({ ...command, stop: ['/opt/db/stop', '', '$HOME; reboot', 'ü'] })).toBe(true);
});

for (const [what, start] of [
  ['a text for a shell', '/opt/db/start --now'],
  ['an empty vector', []],
  ['a name without a path', ['redis-server']],
  ['a relative path', ['./start']],
  ['a path with ".."', ['/opt/db/../start']],
  ['a folder', ['/']],
  ['a trailing slash', ['/opt/db/start/']],
  ['a NUL', ['/opt/db/start', 'a\0b']],
  ['a lone surrogate', ['/opt/db/start', '\ud800']],
  ['too many arguments', ['/opt/db/start', ...Array.from({ length: 64 }, () => 'x')]],
] as const)
  test(`refuses ${what} as a command`, () => {
    expect(accepts({ ...command, start })).toBe(false);
  });

test('refuses keys that do not belong to the kind', () => {
  expect(accepts({ kind: 'systemd', unit: 'redis.service', user: 'redis' })).toBe(false);
  expect(accepts({ ...command, unit: 'redis.service' })).toBe(false);
  expect(accepts({ kind: 'docker', unit: 'redis.service' })).toBe(false);
});

test('describes every key in the JSON schema of the agent file', () => {
  const schema = JSON.stringify(z.toJSONSchema(serviceDefinitionSchema, { io: 'input' }));
  for (const text of [
    'The systemd unit that runs the server',
    'Starts the server in the background',
    'The hook that stops',
  ])
    expect(schema).toContain(text);
});

test('replaces hooks by their commands and leaves other definitions as they are', () => {
  const hooks = { up: ['/opt/up'], down: ['/opt/down', '-f'], state: ['/opt/state'] };
  const service = serviceDefinitionSchema.parse({ kind: 'hook', start: 'up', stop: 'down', status: 'state' });
  expect(resolveService(service, hooks)).toEqual({
    kind: 'command',
    start: ['/opt/up'],
    stop: ['/opt/down', '-f'],
    status: ['/opt/state'],
  });
  expect(resolveService({ kind: 'systemd', unit: 'redis.service' }, {})).toEqual({
    kind: 'systemd',
    unit: 'redis.service',
  });
});

test('names every hook that does not exist or is not a valid command', () => {
  const service = { kind: 'hook', start: 'up', stop: 'constructor', status: 'state' } as const;
  expect(() => resolveService(service, { up: ['/opt/up'], state: ['state'] })).toThrowError(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(
        /^hook "constructor" of service\.stop: .*\nhook "state" of service\.status: .*path/,
      ),
    }),
  );
});
