import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { freePort, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { enroll } from '../src/config/identity.ts';

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => void) {
  const server = createServer(answer).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`,
    [Symbol.dispose]: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function enrollAt(url: string): Promise<unknown> {
  await using folder = await temporaryFolder();
  const config = agentConfigSchema.parse({
    environment: 'test',
    host: 'db-1',
    dataDir: join(folder.path, 'agent'),
    control: { url: 'http://127.0.0.1:1' },
    repositories: {},
    targets: {},
  });
  return await enroll(config, url, 'token').catch((error: unknown) => error);
}

test.each(['', '/sub', '/sub/', '/a/b//'])('peer-F6: enrolls below the path "%s" of the address', async (path) => {
  const paths: unknown[] = [];
  using server = await serve((request, response) => {
    paths.push(request.url);
    response.end(JSON.stringify({ agentId: '01a20b1a-d025-7344-a564-47d7db15294a' }));
  });
  await enrollAt(`${server.url}${path}`);
  expect(paths).toEqual([`${path.replace(/\/+$/, '')}/enroll`]);
});

test.each([301, 302, 308])('peer-F8: a redirect with status %i is reported with the address to use', async (status) => {
  using server = await serve((request, response) => {
    response.writeHead(status, { location: `https://lastgood.example.com/sub${request.url}` }).end();
  });
  expect(await enrollAt(server.url)).toMatchObject({
    code: 'CONTROL_UNREACHABLE',
    message: expect.stringContaining('redirects to https://lastgood.example.com/sub/enroll'),
    remedy: 'Put https://lastgood.example.com/sub into --url and `control.url` of the agent file.',
  });
});

test('op-2.5: a refused connection names its cause and the setting', async () => {
  expect(await enrollAt(`http://127.0.0.1:${await freePort()}`)).toMatchObject({
    code: 'CONTROL_UNREACHABLE',
    message: expect.stringContaining('ECONNREFUSED'),
    remedy: expect.stringContaining('--url and `control.url`'),
  });
});

test('op-2.5: a name that cannot be resolved is reported as such', async () => {
  expect(await enrollAt('http://lastgood.invalid')).toMatchObject({
    code: 'CONTROL_UNREACHABLE',
    remedy: expect.stringContaining('cannot be resolved'),
  });
});
