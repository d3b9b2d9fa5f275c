import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  randomUUID,
  sign,
} from 'node:crypto';
import { lstat, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { controlEndpoint, controlRedirected, controlUnreachable, Failure, isRedirect } from '@lastgood/core';
import { checkPrivate, makePrivateFolder, writeFileDurably } from '@lastgood/host';
import { enrollAnswerSchema, PROTOCOL_VERSION, uuidSchema, wireErrorSchema } from '@lastgood/protocol';
import { type Signer, signerWith } from '@lastgood/repository';
import { z } from 'zod';
import type { AgentConfig } from './agent-config.ts';

const identitySchema = z.object({
  installId: uuidSchema,
  agentId: uuidSchema.nullable(),
  environment: z.string(),
  host: z.string(),
  privateKey: z.string(),
  /** Signs backups. Unlike the key above, it stays when the host is enrolled again. */
  signingKey: z.string(),
});
type StoredIdentity = z.infer<typeof identitySchema>;
/** Where a host gets the address of the control plane from. */
const ADDRESS_SETTING = '--url and `control.url` of the agent file';

/** Who this agent is: a key made here that never leaves the host, and the id that the control plane gave it. */
export class Identity {
  readonly agentId: string;
  readonly installId: string;
  /** Signs what this host writes into repositories. */
  readonly signer: Signer;
  readonly #key: KeyObject;

  constructor(stored: StoredIdentity & { agentId: string }) {
    this.agentId = stored.agentId;
    this.installId = stored.installId;
    this.#key = createPrivateKey(stored.privateKey);
    this.signer = signerWith(createPrivateKey(stored.signingKey));
  }

  /** True for the same name and the same key. */
  sameAs(other: Identity): boolean {
    return this.agentId === other.agentId && this.#key.equals(other.#key);
  }

  /** The headers that open a connection at this moment of the control plane's clock; good once. */
  headers(now: number): Record<string, string> {
    const nonce = randomBytes(18).toString('base64url');
    const signature = sign(
      null,
      Buffer.from(`lastgood-agent\n${this.agentId}\n${Math.round(now)}\n${nonce}`),
      this.#key,
    ).toString('base64url');
    return {
      authorization: `Lastgood ${this.agentId}.${Math.round(now)}.${nonce}.${signature}`,
      'x-lastgood-protocol': String(PROTOCOL_VERSION),
      'x-lastgood-agent': this.agentId,
      'x-lastgood-install': this.installId,
    };
  }
}

const fileOf = (dataDir: string): string => join(dataDir, 'identity.json');

async function readStored(file: string): Promise<StoredIdentity | undefined> {
  if ((await lstat(file).catch(() => undefined)) === undefined) return undefined;
  await checkPrivate(file);
  try {
    return identitySchema.parse(JSON.parse(await readFile(file, 'utf8')));
  } catch (error) {
    throw new Failure('DATA_FOLDER_UNSAFE', `${file} is not an identity`, {
      cause: error,
      remedy: 'Move the file away and enroll this host again.',
    });
  }
}

/** The identity of an enrolled host; UNAUTHENTICATED when it was never enrolled. */
export async function readIdentity(config: Pick<AgentConfig, 'dataDir' | 'environment' | 'host'>): Promise<Identity> {
  const stored = await readStored(fileOf(config.dataDir));
  if (stored === undefined || stored.agentId === null)
    throw new Failure('UNAUTHENTICATED', `this host is not enrolled (${config.dataDir})`, {
      remedy: 'Make a token with `lastgood tokens enroll` and run `lastgood agent enroll` on this host.',
    });
  if (stored.environment !== config.environment || stored.host !== config.host)
    throw new Failure(
      'CONFIG_INVALID',
      `this host was enrolled as ${stored.environment}/${stored.host}, its file now says ${config.environment}/${config.host}`,
      { remedy: 'Put the old names back, or enroll the host again.' },
    );
  return new Identity({ ...stored, agentId: stored.agentId });
}

function newPrivateKey(): string {
  const { privateKey } = generateKeyPairSync('ed25519');
  return privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

/** A new key. The installation and its signatures stay those of its repositories when it is enrolled again under its name. */
async function newIdentity({ environment, host, dataDir }: AgentConfig): Promise<StoredIdentity> {
  const former = await readStored(fileOf(dataDir)).catch(() => undefined);
  const same = former?.environment === environment && former.host === host;
  return {
    installId: same ? former.installId : randomUUID(),
    agentId: null,
    environment,
    host,
    privateKey: newPrivateKey(),
    signingKey: same ? former.signingKey : newPrivateKey(),
  };
}

/** Joins the fleet with a one-time token. The key is stored first, so that a call whose answer was lost can be repeated. */
export async function enroll(config: AgentConfig, url: string, token: string): Promise<{ agentId: string }> {
  await makePrivateFolder(config.dataDir);
  const { environment, host } = config;
  const pendingFile = `${fileOf(config.dataDir)}.pending`;
  const old = await readStored(pendingFile);
  const pending = old !== undefined && old.environment === environment && old.host === host;
  const stored = pending ? old : await newIdentity(config);
  if (!pending) await writeFileDurably(pendingFile, JSON.stringify(stored));
  const publicKey = createPublicKey(createPrivateKey(stored.privateKey))
    .export({ type: 'spki', format: 'pem' })
    .toString();
  const body = JSON.stringify({
    token,
    installId: stored.installId,
    host,
    environment,
    labels: config.labels,
    publicKey,
    protocol: PROTOCOL_VERSION,
  });
  const address = controlEndpoint(url, 'enroll');
  const response = await fetch(address, {
    method: 'POST',
    redirect: 'manual',
    headers: { 'content-type': 'application/json' },
    body,
    signal: AbortSignal.timeout(30_000),
  }).catch((error: unknown) => {
    throw controlUnreachable(url, error, ADDRESS_SETTING);
  });
  if (isRedirect(response.status))
    throw controlRedirected(address, response.headers.get('location'), 'enroll', ADDRESS_SETTING);
  const answer: unknown = await response.json().catch(() => undefined);
  if (!response.ok) {
    const refusal = z.object({ error: wireErrorSchema }).safeParse(answer);
    throw refusal.success
      ? new Failure(refusal.data.error.code, refusal.data.error.message, { remedy: refusal.data.error.remedy })
      : new Failure(
          'CONTROL_UNREACHABLE',
          `${address} responded with status ${response.status}, not as a control plane`,
        );
  }
  const { agentId } = enrollAnswerSchema.parse(answer);
  await writeFileDurably(fileOf(config.dataDir), JSON.stringify({ ...stored, agentId }));
  await rm(pendingFile, { force: true });
  return { agentId };
}
