import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { agentConfigSchema } from '../src/config/agent-config.ts';
import { enroll } from '../src/config/identity.ts';

/** Enrolls as a control plane would answer, and tells what was asked for. */
async function enrolled(dataDir: string, host: string): Promise<{ installId: string; publicKey: string }> {
  const asked: { installId: string; publicKey: string }[] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      asked.push(JSON.parse(body));
      response.end(JSON.stringify({ agentId: '01a20b1a-d025-7344-a564-47d7db15294a' }));
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}`;
  const config = { environment: 'test', host, dataDir, control: { url }, repositories: {}, targets: {} };
  try {
    await enroll(agentConfigSchema.parse(config), url, 'token');
  } finally {
    server.close();
  }
  const [input] = asked;
  if (input === undefined) throw new TypeError('nobody asked');
  return input;
}

test('a host that is enrolled again under its name has a new key and stays the installation that it was', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'agent');
  const first = await enrolled(dataDir, 'db-1');
  const again = await enrolled(dataDir, 'db-1');
  expect(again.installId).toBe(first.installId);
  expect(again.publicKey).not.toBe(first.publicKey);
});

test('J4: a host that is enrolled under another name, or without its identity, is another installation', async () => {
  await using folder = await temporaryFolder();
  const dataDir = join(folder.path, 'agent');
  const first = await enrolled(dataDir, 'db-1');
  expect((await enrolled(dataDir, 'db-2')).installId).not.toBe(first.installId);
  await writeFile(join(dataDir, 'identity.json'), 'damaged', { mode: 0o600 });
  const last = await enrolled(dataDir, 'db-2');
  expect(last.installId).not.toBe(first.installId);
  expect(JSON.parse(await readFile(join(dataDir, 'identity.json'), 'utf8')).installId).toBe(last.installId);
});
