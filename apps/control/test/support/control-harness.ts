import { generateKeyPairSync, type KeyObject, randomBytes, randomUUID, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AdminRouter, Scope } from '@lastgood/protocol';
import { temporaryFolder } from '@lastgood/testkit';
import { createTRPCClient, httpLink, type TRPCClient } from '@trpc/client';
import { type Control, type ControlOptions, startControl } from '../../src/index.ts';

const NEVER_MS = 2 ** 31 - 1;

/** A clock that stands until it is moved. */
export class StandingClock {
  #now = Date.UTC(2026, 0, 15, 12);
  #monotonic = 1_000_000;
  now = (): number => this.#now;
  monotonic = (): number => this.#monotonic;
  advance(ms: number): void {
    this.#now += ms;
    this.#monotonic += ms;
  }
}

export type Admin = TRPCClient<AdminRouter>;
export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly failure: { code: string; message: string; remedy: string } | null;
  readonly data: unknown;
}
export interface Identity {
  readonly agentId: string;
  readonly installId: string;
  readonly key: KeyObject;
  readonly publicKey: string;
}

function answerOf(status: number, text: string): Answer {
  const body = text === '' ? {} : JSON.parse(text);
  const error = body.error?.data?.failure ?? (body.error?.code === undefined ? null : body.error);
  return { status, text, failure: error, data: body.result?.data ?? body };
}

/** A control plane in this process over a folder of its own, with real sockets and a real catalog. */
export class ControlHarness implements AsyncDisposable {
  readonly clock = new StandingClock();
  readonly dataDir: string;
  readonly logged: { fields: object; message: string }[] = [];
  readonly #cleanup: AsyncDisposableStack;
  readonly #options: Partial<ControlOptions>;
  #control: Control | undefined;
  adminToken = '';

  private constructor(dataDir: string, cleanup: AsyncDisposableStack, options: Partial<ControlOptions>) {
    this.dataDir = dataDir;
    this.#cleanup = cleanup;
    this.#options = options;
  }

  static async start(options: Partial<ControlOptions> = {}): Promise<ControlHarness> {
    await using cleanup = new AsyncDisposableStack();
    const folder = cleanup.use(await temporaryFolder());
    const bench = new ControlHarness(options.dataDir ?? join(folder.path, 'control'), cleanup.move(), options);
    try {
      await bench.open();
    } catch (error) {
      await bench[Symbol.asyncDispose]();
      throw error;
    }
    return bench;
  }

  async open(more: Partial<ControlOptions> = {}): Promise<void> {
    const note = (fields: object, message: string): void => void this.logged.push({ fields, message });
    const log = { info: note, warn: note, error: note };
    this.#control = await startControl({
      clock: this.clock,
      log,
      ...this.#options,
      ...more,
      // By itself it would write between two looks at the catalog; tests of the planner set their own interval.
      limits: { plannerMs: NEVER_MS, ...this.#options.limits, ...more.limits },
      dataDir: this.dataDir,
    });
    this.adminToken = (await readFile(this.#control.adminTokenFile, 'utf8')).trim();
  }
  async close(): Promise<void> {
    await this.#control?.close();
    this.#control = undefined;
  }

  get url(): string {
    if (this.#control === undefined) throw new TypeError('the control plane is not open');
    return this.#control.url;
  }
  get port(): number {
    return Number(new URL(this.url).port);
  }
  get catalogFile(): string {
    return join(this.dataDir, 'catalog.sqlite');
  }

  admin(token = this.adminToken): Admin {
    return createTRPCClient<AdminRouter>({
      links: [httpLink({ url: `${this.url}/trpc`, headers: { authorization: `Bearer ${token}` } })],
    });
  }

  /** One call as it is on the wire, so that nothing of the client stands between. */
  async call(type: 'query' | 'mutation', path: string, input: unknown, token: string | null): Promise<Answer> {
    return await this.callRaw(type, path, input === undefined ? undefined : JSON.stringify(input), token);
  }
  async callRaw(
    type: 'query' | 'mutation',
    path: string,
    body: string | undefined,
    token: string | null,
  ): Promise<Answer> {
    const query = type === 'query' && body !== undefined ? `?input=${encodeURIComponent(body)}` : '';
    const response = await fetch(`${this.url}/trpc/${path}${query}`, {
      method: type === 'query' ? 'GET' : 'POST',
      headers: {
        ...(type === 'mutation' ? { 'content-type': 'application/json' } : {}),
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(type === 'mutation' && body !== undefined ? { body } : {}),
    });
    return answerOf(response.status, await response.text());
  }

  async tokenOf(scope: Scope, expiresInHours: number | null = null): Promise<string> {
    const { token } = await this.admin().createToken.mutate({
      name: `${scope} ${randomUUID()}`,
      scope,
      expiresInHours,
    });
    return token;
  }

  async enrollToken(host: string, environment = 'test', expiresInHours = 1): Promise<string> {
    return (await this.admin().createEnrollToken.mutate({ environment, host, expiresInHours, replace: true })).token;
  }
  async postEnrol(body: unknown): Promise<Answer> {
    const response = await fetch(`${this.url}/enroll`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: typeof body === 'string' ? body : JSON.stringify(body),
    });
    return answerOf(response.status, await response.text());
  }

  async enroll(host = 'db-1'): Promise<Identity> {
    const { body, key } = enrollment(await this.enrollToken(host), host);
    const { status, data, text } = await this.postEnrol(body);
    if (status !== 200) throw new TypeError(`enrollment failed: ${text}`);
    return {
      agentId: (data as { agentId: string }).agentId,
      installId: body.installId,
      key,
      publicKey: body.publicKey,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
    await this.#cleanup.disposeAsync();
  }
}

/** What a host sends to be taken in, with a key of its own. */
export function enrollment(token: string, host = 'db-1') {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    key: privateKey,
    body: {
      token,
      installId: randomUUID(),
      host,
      environment: 'test',
      labels: {},
      publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
      protocol: 1,
    },
  };
}

/** The headers of one upgrade, signed for this moment. */
export function headersOf(identity: Identity, now: number): Record<string, string> {
  const nonce = randomBytes(18).toString('base64url');
  const message = Buffer.from(`lastgood-agent\n${identity.agentId}\n${now}\n${nonce}`);
  const signature = sign(null, message, identity.key).toString('base64url');
  return {
    authorization: `Lastgood ${identity.agentId}.${now}.${nonce}.${signature}`,
    'x-lastgood-protocol': '1',
    'x-lastgood-agent': identity.agentId,
    'x-lastgood-install': identity.installId,
  };
}
