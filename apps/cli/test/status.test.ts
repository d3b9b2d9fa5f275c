import type { DatabaseStatus, Finding, TargetStatus } from '@lastgood/protocol';
import { afterEach, expect, test } from 'vitest';
import { serve, targetStatus } from './fake-control.ts';
import { run } from './lastgood.ts';

const cleanup: AsyncDisposable[] = [];
afterEach(async () => {
  for (const entry of cleanup.splice(0)) await entry[Symbol.asyncDispose]();
});
const keep = <T extends AsyncDisposable>(entry: T): T => {
  cleanup.push(entry);
  return entry;
};

const [covered] = targetStatus.databases;
const database = (changed: object): DatabaseStatus => ({ ...(covered as DatabaseStatus), database: 'crm', ...changed });
const problem = (code: string, message = 'x'): Finding => ({
  code,
  severity: 'error',
  subject: null,
  params: { message },
});
test.for<[string, Partial<TargetStatus>, number, string]>([
  ['all is covered', {}, 0, ' ok '],
  ['no good backup holds a database', { databases: [database({ goesBackTo: null, proven: null })] }, 4, 'NOWHERE'],
  ['a backup was never proven', { databases: [database({ proven: null })] }, 0, 'NEVER'],
  ['a dropped database is in a backup still', { databases: [database({ onServer: false })] }, 0, 'not on the server'],
  ['the server does not answer', { state: 'unreachable', problems: [problem('SERVER_UNREACHABLE')] }, 4, 'unreachable'],
  [
    'the host is offline',
    { online: false, hostState: 'offline', problems: [problem('HOST_OFFLINE')] },
    4,
    'host offline',
  ],
  [
    'nothing is known of the target',
    { databases: [], problems: [problem('DATABASES_UNKNOWN')] },
    4,
    'no database is known',
  ],
  [
    'the repository is not mounted',
    { problems: [problem('REPOSITORY_NOT_MOUNTED', '/x')] },
    4,
    'test/db-1/shop: REPOSITORY_NOT_MOUNTED: /x',
  ],
  ['the repository is foreign', { problems: [problem('REPOSITORY_FOREIGN')] }, 4, ' NOT IN ORDER '],
  [
    'an agent never came',
    {
      target: null,
      state: null,
      online: false,
      hostState: 'never',
      databases: [],
      problems: [problem('HOST_NEVER_CONNECTED')],
    },
    4,
    'test/db-1: the agent of this host has never connected',
  ],
  [
    'a host has no targets',
    { target: null, state: null, databases: [], problems: [problem('HOST_WITHOUT_TARGETS')] },
    4,
    ' no targets ',
  ],
])('status when %s', async ([, told, status, text]) => {
  const served = keep(await serve(() => ({}), {}, told));
  const ran = await run(served.url, 'status');
  expect([ran.status, ran.stdout]).toEqual([status, expect.stringContaining(text)]);
  const answers = JSON.parse((await run(served.url, '--json', 'status')).stdout);
  for (const { goesBackTo, exposureMs } of answers.targets[0].databases)
    expect(exposureMs === null).toBe(goesBackTo === null);
});

test('a fleet without a host protects nothing: the status says so and ends with 4', async () => {
  const served = keep(await serve(() => ({}), {}, null));
  const ran = await run(served.url, 'status');
  expect([ran.status, ran.stdout]).toEqual([4, expect.stringContaining('nothing is protected')]);
  const json = await run(served.url, '--json', 'status');
  expect([json.status, JSON.parse(json.stdout)]).toEqual([4, { version: 1, targets: [] }]);
});

test('an old backup ends the status with 4 when an age is given', async () => {
  const served = keep(await serve(() => ({})));
  expect((await run(served.url, 'status', '--max-age', '1m')).status).toBe(4);
  expect((await run(served.url, 'status', '--max-age', '30000d')).status).toBe(0);
});
