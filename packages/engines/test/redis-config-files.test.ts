import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startRedis, temporaryFolder } from '@lastgood/testkit';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  captureConfig,
  quoteWord,
  RedisSession,
  readServerFacts,
  redactConfig,
  redisConnectionSchema,
} from '../src/redis/index.ts';
import { eachFlavor, programsOf } from './support/redis-flavors.ts';

const never = new AbortController().signal;

describe('secrets of a configuration are left out and listed', () => {
  test.for([
    { line: 'requirepass hunter2', text: '# left out: requirepass', leftOut: ['requirepass', null] },
    { line: 'MasterAuth "hunter2"', text: '# left out: masterauth', leftOut: ['masterauth', null] },
    { line: 'tls-key-file-pass hunter2', text: '# left out: tls-key-file-pass', leftOut: ['tls-key-file-pass', null] },
    {
      line: 'ts-global-password hunter2',
      text: '# left out: ts-global-password',
      leftOut: ['ts-global-password', null],
    },
    {
      line: 'sentinel auth-pass shop hunter2',
      text: '# left out: sentinel auth-pass',
      leftOut: ['sentinel auth-pass', null],
    },
    {
      line: 'rename-command CONFIG hunter2',
      text: '# left out: rename-command CONFIG',
      leftOut: ['rename-command', 'CONFIG'],
    },
    {
      line: 'loadmodule /lib/m.so PASSWORD hunter2',
      text: '# left out: arguments\nloadmodule /lib/m.so',
      leftOut: ['loadmodule', '/lib/m.so'],
    },
    {
      line: 'user alice on ">hunter2 hunter2" ~* "%R~a b" +@all',
      text: 'user alice on ~* "%R~a b" +@all',
      leftOut: ['user', 'alice'],
    },
    { line: 'requirepass "hunter2', text: '# left out: a malformed line', leftOut: ['malformed line', null] },
  ])('$line → $text', ({ line, text, leftOut: [directive, subject] }) => {
    expect(redactConfig(`port 1\n${line}\n`, 'config')).toEqual({
      text: `port 1\n${text}\n`,
      leftOut: [{ line: 2, directive, subject }],
    });
  });

  test.for([
    '# requirepass hunter2',
    'requirepass ""',
    'masteruser replica',
    'tls-auth-clients optional',
    'rename-command FLUSHALL ""',
    'user open on nopass ~* +@all',
    'loadmodule /lib/m.so',
    'dir "/var/lib/re dis"',
    '',
  ])('nothing of: %s', (line) => {
    expect(redactConfig(line, 'config')).toEqual({ text: line, leftOut: [] });
  });

  test('passwords and their hashes of an ACL file', () => {
    const file = `user default on nopass ~* +@all\nuser a on #${'0f'.repeat(32)} >hunter2 (~x +get) ~* &c +@all\n`;
    expect(redactConfig(file, 'acl')).toEqual({
      text: 'user default on nopass ~* +@all\nuser a on (~x +get) ~* &c +@all\n',
      leftOut: [{ line: 2, directive: 'user', subject: 'a' }],
    });
  });

  test('whatever the secret is and however it is quoted', () => {
    const directives = [
      'requirepass',
      'masterauth',
      'primaryauth',
      'tls-client-key-file-pass',
      'user a on',
      'rename-command GET',
    ];
    const secret = fc.string({ minLength: 8 }).filter((text) => !/^\s*$/.test(text));
    fc.assert(
      fc.property(fc.constantFrom(...directives), secret, fc.boolean(), (directive, value, isQuoted) => {
        const rule = directive.startsWith('user') ? `>${value}` : value;
        const word = isQuoted ? quoteWord(rule) : `'${rule.replaceAll("'", "\\'")}'`;
        const { text, leftOut } = redactConfig(`${directive} ${word}`, 'config');
        expect(leftOut).toHaveLength(1);
        expect(text).not.toContain(value);
      }),
    );
  });
});

eachFlavor('the configuration of %s', (flavor) => {
  test('is captured with its ACL file, and a server starts with what remains', async ({ skip }) => {
    const programs = programsOf(flavor, skip);
    const users = ['user app on >app-secret ~app:* &* -@all +get +set', `user batch on #${'ab'.repeat(32)} ~* +@read`];
    const config = { masterauth: 'master-secret', 'rename-command': 'DEBUG hidden-debug' };
    await using server = await startRedis({ programs, users, config });
    await using session = await RedisSession.open(redisConnectionSchema.parse(server.connection), never);
    const { configFile, settings } = await readServerFacts(session);
    const captured = await captureConfig({
      configFile,
      aclFile: settings?.aclfile ?? null,
      keepSecrets: false,
      signal: never,
    });
    expect(captured.missing).toEqual([]);
    expect(
      captured.files.map(({ path, kind, leftOut }) => [
        path,
        kind,
        leftOut.map(({ directive, subject }) => subject ?? directive),
      ]),
    ).toEqual([
      [server.configFile, 'config', ['masterauth', 'DEBUG']],
      [server.aclFile, 'acl', ['default', 'app', 'batch']],
    ]);
    expect(JSON.stringify(captured)).not.toMatch(/app-secret|master-secret|hidden-debug|abab/);
    expect(JSON.stringify(captured)).not.toContain(server.password);
    await server.stop();
    for (const { path, text } of captured.files)
      await writeFile(path, text.replace('user default on', `user default on >${server.password}`));
    await server.start();
    expect(await server.call('ACL', 'USERS')).toEqual(['app', 'batch', 'default']);
    const full = await captureConfig({ configFile, aclFile: null, keepSecrets: true, signal: never });
    expect(full.files[0]?.text).toBe(await readFile(server.configFile, 'utf8'));
  });
});

test('a server accepts the ACL file without passwords, and refuses a login with an old one', async () => {
  const { text } = redactConfig('user app on >app-secret ~app:* &* -@all +get (~x* +set)', 'acl');
  await using server = await startRedis({ users: [text] });
  expect(await server.call('ACL', 'LIST')).toContainEqual(expect.stringMatching(/^user app on .*~app:\*/));
  await expect(server.call('AUTH', 'app', 'app-secret')).rejects.toThrow('WRONGPASS');
});

describe('files of a configuration', () => {
  test('that are included are captured, patterns too, and each once', async () => {
    await using folder = await temporaryFolder();
    const { path } = folder;
    await mkdir(join(path, 'd'));
    await writeFile(join(path, 'redis.conf'), `port 1\ninclude "${path}/d/*.conf"\ninclude relative.conf\n`);
    await writeFile(join(path, 'd', 'a.conf'), `requirepass hunter2\ninclude ${path}/redis.conf\n`);
    await writeFile(join(path, 'd', 'b.conf'), 'port 2\n');
    const captured = await captureConfig({
      configFile: join(path, 'redis.conf'),
      aclFile: '',
      keepSecrets: false,
      signal: never,
    });
    expect(captured.files.map((file) => file.path.slice(path.length + 1)).sort()).toEqual([
      'd/a.conf',
      'd/b.conf',
      'redis.conf',
    ]);
    expect(captured.missing.map((file) => file.path)).toEqual(['relative.conf']);
  });

  test('that are missing, links or too large are reported and do not fail the backup', async () => {
    await using folder = await temporaryFolder();
    const [link, large] = [join(folder.path, 'link'), join(folder.path, 'large')];
    await symlink('/etc/passwd', link);
    await writeFile(large, Buffer.alloc(5 * 1024 * 1024, '#'));
    for (const configFile of [link, large, join(folder.path, 'nowhere')]) {
      const captured = await captureConfig({ configFile, aclFile: null, keepSecrets: false, signal: never });
      expect(captured.files).toEqual([]);
      expect(captured.missing).toHaveLength(1);
    }
  });
});
