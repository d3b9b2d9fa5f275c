import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AgentRouter, PROTOCOL_VERSION } from '@lastgood/protocol';
import { adminClient, freePort, root, startProcess, waitFor } from '@lastgood/testkit';
import { createTRPCClient, createWSClient, wsLink } from '@trpc/client';
import { type ClientOptions, WebSocket } from 'ws';
import { memoryOf } from '../test/support/process-memory.ts';
import { percentile, report } from './report.ts';

const AGENTS = Number(process.env['AGENTS'] ?? 1000);
/** The number of commands that are sent one at a time. */
const ALONE = 200;
const forever = new AbortController().signal;

interface Identity {
  readonly agentId: string;
  readonly installId: string;
  readonly host: string;
  readonly key: KeyObject;
}

function headersOf(identity: Identity): Record<string, string> {
  const millis = Date.now();
  const nonce = randomBytes(16).toString('hex');
  const signature = sign(
    null,
    Buffer.from(`lastgood-agent\n${identity.agentId}\n${millis}\n${nonce}`),
    identity.key,
  ).toString('base64url');
  return {
    authorization: `Lastgood ${identity.agentId}.${millis}.${nonce}.${signature}`,
    'x-lastgood-protocol': String(PROTOCOL_VERSION),
    'x-lastgood-agent': identity.agentId,
    'x-lastgood-install': identity.installId,
  };
}

async function enroll(url: string, token: string, host: string): Promise<Identity> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const installId = randomUUID();
  const response = await fetch(`${url}/enroll`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      token,
      installId,
      host,
      environment: 'bench',
      labels: {},
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }),
      protocol: PROTOCOL_VERSION,
    }),
  });
  if (!response.ok)
    throw new TypeError(`enrollment of ${host} failed with status ${response.status}: ${await response.text()}`);
  const { agentId } = (await response.json()) as { agentId: string };
  return { agentId, installId, host, key: privateKey };
}

/** Connects a simulated agent with a real session over a real socket. It acknowledges each command when it arrives. */
async function connect(url: string, identity: Identity, onCommand: (jobId: string) => void): Promise<() => void> {
  class AgentSocket extends WebSocket {
    constructor(address: string, protocols?: string | string[]) {
      const options: ClientOptions = {
        headers: headersOf(identity),
        perMessageDeflate: false,
        maxPayload: 256 * 1024,
        handshakeTimeout: 30_000,
      };
      super(address, protocols, options);
    }
  }
  const ws = createWSClient({
    url: `${url.replace('http', 'ws')}/agent`,
    WebSocket: AgentSocket as never,
    retryDelayMs: () => 1e9,
    keepAlive: { enabled: false },
  });
  const client = createTRPCClient<AgentRouter>({ links: [wsLink({ client: ws })] });
  const hello = await client.hello.mutate({
    instanceId: randomUUID(),
    lastSeq: 0,
    incarnation: null,
    schedules: null,
    capabilities: ['engine.postgres/1'],
    clock: Date.now(),
    agentVersion: '0.1.0',
    signingKey: 'ed25519:test',
    newestEpoch: 0,
    protocol: PROTOCOL_VERSION,
    jobs: [],
  });
  const { sessionId } = hello;
  await client.inventory.mutate({
    sessionId,
    hash: identity.host,
    backups: [],
    targets: [
      {
        name: 'db',
        engine: 'postgres',
        labels: {},
        repository: 'local',
        state: 'ok',
        version: '15.18',
        systemId: identity.host,
        sizeBytes: 1,
        databases: [{ name: 'db', sizeBytes: 1 }],
        findings: [],
      },
    ],
  });
  client.commands.subscribe(
    { sessionId },
    {
      onData: (command) => {
        if (command.type !== 'job.start') return;
        client.ack.mutate({ sessionId, upToSeq: command.seq }).then(
          () => onCommand(command.jobId),
          () => undefined,
        );
      },
      onError: (error) => {
        throw error;
      },
    },
  );
  return () => {
    ws.close().catch(() => undefined);
    ws.connection?.ws.close();
  };
}

const folder = await mkdtemp(join(tmpdir(), 'lastgood-bench-'));
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rm(folder, { recursive: true, force: true }));
const port = await freePort();
const url = `http://127.0.0.1:${port}`;
const control = cleanup.use(
  await startProcess(
    'control',
    [join(root, 'apps/control/dist/main.mjs'), '--data', join(folder, 'control'), '--port', String(port)],
    undefined,
  ),
);
await waitFor('the control plane', 30_000, forever, async () =>
  (await fetch(`${url}/healthz`).catch(() => undefined))?.ok ? true : undefined,
);
const client = await adminClient(url, join(folder, 'control', 'admin.token'));
const rest = await memoryOf(control.pid);

const identities: Identity[] = [];
for (let index = 0; index < AGENTS; index += 1) {
  const host = `host-${index}`;
  const { token } = await client.createEnrollToken.mutate({ environment: 'bench', host, expiresInHours: 1 });
  identities.push(await enroll(url, token, host));
}
const sentAt = new Map<string, number>();
const latencies: number[] = [];
const early = new Map<string, number>();
const connectStart = performance.now();
const onCommand = (jobId: string): void => {
  const at = performance.now();
  const sent = sentAt.get(jobId);
  if (sent === undefined) early.set(jobId, at);
  else latencies.push(at - sent);
};
const closers = await Promise.all(identities.map((identity) => connect(url, identity, onCommand)));
const connectSeconds = (performance.now() - connectStart) / 1000;
const connected = await memoryOf(control.pid);

/** Sends one command to one host and records when it was requested. */
async function command(host: string): Promise<void> {
  const start = performance.now();
  const job = await client.createJob.mutate({
    target: `bench/${host}/db`,
    spec: { command: 'backup', target: 'db', method: null, contents: null, options: {} },
    idempotencyKey: randomUUID(),
  });
  sentAt.set(job.jobId, start);
  const arrived = early.get(job.jobId);
  if (arrived !== undefined) latencies.push(arrived - start);
}
const untilAcknowledged = (count: number): Promise<boolean> =>
  waitFor(`${count} commands to be acknowledged`, 120_000, forever, async () =>
    latencies.length >= count ? true : undefined,
  );
for (let index = 0; index < ALONE; index += 1) {
  await command(`host-${index % AGENTS}`);
  await untilAcknowledged(index + 1);
}
const alone = latencies.splice(0);
const dispatchStart = performance.now();
await Promise.all(identities.map(({ host }) => command(host)));
await untilAcknowledged(AGENTS);
const totalSeconds = (performance.now() - dispatchStart) / 1000;
const after = await memoryOf(control.pid);
for (const close of closers) close();
await report(
  'control',
  [
    'agents',
    'connected in s',
    'one command: p50 ms',
    'p99 ms',
    'one command to every agent at once: p50 ms',
    'p99 ms',
    'all in s',
    'idle memory MB',
    'KB per connected agent',
    'peak MB',
  ],
  [
    [
      String(AGENTS),
      connectSeconds.toFixed(1),
      percentile(alone, 50).toFixed(1),
      percentile(alone, 99).toFixed(1),
      percentile(latencies, 50).toFixed(0),
      percentile(latencies, 99).toFixed(0),
      totalSeconds.toFixed(2),
      (rest.residentBytes / 1e6).toFixed(0),
      ((connected.residentBytes - rest.residentBytes) / AGENTS / 1000).toFixed(0),
      (after.peakResidentBytes / 1e6).toFixed(0),
    ],
  ],
);
