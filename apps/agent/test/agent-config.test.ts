import { chmod, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { readAgentConfig } from '../src/config/agent-config.ts';

const VALID = `control:
  url: http://127.0.0.1:7420
environment: prod
host: db-1
repositories:
  local: { type: folder, path: /backup }
targets:
  shop:
    engine: postgres
    repository: local
    connection: { host: /var/run/postgresql, user: lastgood }
`;

/** How a file with this text is answered: the code and the message without the folder of the test. */
async function answerTo(text: string | Buffer): Promise<{ code: string; lines: string[] }> {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'agent.yaml');
  await writeFile(file, text, { mode: 0o600 });
  return await readAgentConfig(file).then(
    () => ({ code: 'valid', lines: [] }),
    (error: { code: string; message: string }) => ({
      code: error.code,
      lines: error.message.replaceAll(`${folder.path}/`, '').split('\n'),
    }),
  );
}

test('a short file is enough, and what it leaves out is cautious', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'agent.yaml');
  await writeFile(file, VALID, { mode: 0o600 });
  const { targets, repositories } = await readAgentConfig(file);
  expect(targets['shop']?.allow).toEqual({
    restore: ['new'],
    rotate: false,
    minimumKept: 1,
    maxRemovedPerRun: 50,
    maxRemovedPerDay: 25,
    minimumAgeHours: 168,
    keepDaily: 7,
    keepWeekly: 4,
    roles: 'limited',
    dropSetAside: false,
    uncontainedRestoreTests: false,
  });
  expect(repositories['local']?.graceHours).toBe(24);
});

test('reports every problem at once, with file, line, column and path', async () => {
  const text = VALID.replace('environment: prod', 'environment: Prod')
    .replace('user: lastgood', 'usr: x')
    .replace('repository: local', 'repository: constructor');
  const { code, lines } = await answerTo(text);
  expect(code).toBe('CONFIG_INVALID');
  expect(lines.map((line) => line.split(' ').slice(0, 2))).toEqual(
    expect.arrayContaining([
      ['agent.yaml:3:14', 'environment'],
      ['agent.yaml:10:17', 'targets.shop.repository'],
      ['agent.yaml:11:17', 'targets.shop.connection.user'],
    ]),
  );
  expect(lines).toContainEqual(
    expect.stringMatching(/^agent\.yaml:11:\d\d targets\.shop\.connection\.usr unknown key$/),
  );
});

test('names the known engines when a target has an unknown one', async () => {
  const { code, lines } = await answerTo(VALID.replace('engine: postgres', 'engine: oracle'));
  expect(code).toBe('CONFIG_INVALID');
  expect(lines).toEqual(['agent.yaml:9:13 targets.shop.engine unknown engine; use one of: postgres, redis, neo4j']);
});

test.for([
  ['nothing', ''],
  ['a list', '- a\n- b\n'],
  ['half of it', VALID.slice(0, 60)],
  ['tabs', VALID.replaceAll('  ', '\t')],
  ['a key twice', `${VALID}environment: other\n`],
  ['an unknown key', `${VALID}environmnt: other\n`],
  ['a repository that is not there', VALID.replace('repository: local', 'repository: nowhere')],
  ['a relative path', VALID.replace('/backup', 'backup')],
  ['a path as a name', VALID.replace('shop:', '../shop:')],
  ['a password', VALID.replace('user: lastgood', 'user: lastgood, password: hunter2')],
  ['a bomb of aliases', `a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n${VALID}`],
  ['a tag that makes objects', VALID.replace('prod', '!!js/function "x"')],
  ['bytes', Buffer.from([0xff, 0xfe, 0x00, 0x01])],
] as const)('a file with %s is refused and names the place', async ([, text]) => {
  const { code, lines } = await answerTo(text);
  expect(code).toBe('CONFIG_INVALID');
  for (const line of lines) expect(line).toMatch(/^agent\.yaml:\d+:\d+ /);
  expect(lines.join('\n')).not.toContain('hunter2');
});

test.for([
  ['Windows line ends', VALID.replaceAll('\n', '\r\n')],
  ['a byte order mark', `\uFEFF${VALID}`],
  ['comments', `# ours\n${VALID}`],
] as const)('a file with %s is fine', async ([, text]) => {
  expect((await answerTo(text)).code).toBe('valid');
});

test('B16: a file that others can write, a folder and a missing file are refused', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'agent.yaml');
  await writeFile(file, VALID);
  await chmod(file, 0o666);
  await expect(readAgentConfig(file)).rejects.toMatchObject({ code: 'DATA_FOLDER_UNSAFE' });
  await mkdir(join(folder.path, 'folder'));
  await expect(readAgentConfig(join(folder.path, 'folder'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  await expect(readAgentConfig(join(folder.path, 'missing'))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
});

test.for([
  ['/backup', 'valid'],
  ['/', 'valid'],
  ['/back', 'CONFIG_INVALID'],
  ['/proc', 'CONFIG_INVALID'],
])('B5: a repository in /backup whose mount point is %s: %s', async ([mount, code]) => {
  const answer = await answerTo(VALID.replace('path: /backup', `path: /backup, mustBeMount: ${mount}`));
  expect(answer.code).toBe(code);
  if (code !== 'valid')
    expect(answer.lines).toEqual([
      expect.stringMatching(
        /^agent\.yaml:6:\d+ repositories\.local\.mustBeMount is neither \/backup nor a folder above it$/,
      ),
    ]);
});

test('a bucket needs only its name; a bad recipient, bucket or prefix is refused with its place', async () => {
  const bucket = (more: string): string =>
    VALID.replace('{ type: folder, path: /backup }', `{ type: s3, bucket: acme-backups${more} }`);
  expect(await answerTo(bucket(''))).toEqual({ code: 'valid', lines: [] });
  const { lines } = await answerTo(
    bucket(', prefix: "/a/", partMiB: 1, endpoint: "ftp://x", encryption: { recipients: [age1wrong] }'),
  );
  expect(lines.map((line) => line.split(' ')[1])).toEqual([
    'repositories.local.prefix',
    'repositories.local.partMiB',
    'repositories.local.endpoint',
    'repositories.local.encryption.recipients.0',
  ]);
  expect((await answerTo(VALID.replace('type: folder', 'type: sftp'))).lines).toEqual([
    expect.stringContaining('unknown type of repository; use one of: folder, s3'),
  ]);
});
