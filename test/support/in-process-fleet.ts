import { randomUUID } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Agent, type AgentOptions, enroll, readAgentConfig, startAgent } from '@lastgood/agent';
import { type Control, type ControlOptions, startControl } from '@lastgood/control';
import { systemClock } from '@lastgood/host';
import type { AgentJob, JobSpec, JobView } from '@lastgood/protocol';
import { type AdminClient, adminClient, OPEN_LIMITS, temporaryFolder, waitFor } from '@lastgood/testkit';
import Database from 'better-sqlite3';

const forever = new AbortController().signal;
export const silent = { info: () => undefined, warn: () => undefined, error: () => undefined, fatal: () => undefined };

/** Control plane and agent in this process over real sockets, files and catalogs: quick to start, with clocks and chances given. */
export class InProcessFleet implements AsyncDisposable {
  readonly folder: string;
  readonly admin: AdminClient;
  readonly #cleanup: AsyncDisposableStack;
  readonly #options: Partial<ControlOptions>;
  #control: Control;
  #agent: Agent | undefined;

  private constructor(
    folder: string,
    control: Control,
    admin: AdminClient,
    cleanup: AsyncDisposableStack,
    options: Partial<ControlOptions>,
  ) {
    this.folder = folder;
    this.#options = options;
    this.#control = control;
    this.admin = admin;
    this.#cleanup = cleanup;
  }

  /** Starts the control plane and enrolls the host; `file` changes the agent file before it is written. */
  static async open(
    file: (config: AgentFile) => void = () => undefined,
    options: Partial<ControlOptions> = {},
  ): Promise<InProcessFleet> {
    await using cleanup = new AsyncDisposableStack();
    const { path: folder } = cleanup.use(await temporaryFolder());
    const defaults = { clock: systemClock, log: silent as never };
    const control = await startControl({ ...defaults, ...options, dataDir: join(folder, 'control') });
    const admin = await adminClient(control.url, control.adminTokenFile);
    const both = new InProcessFleet(folder, control, admin, cleanup.move(), options);
    both.#cleanup.defer(() => both.stopControl());
    await both.write((config) => {
      file(config);
      return config;
    });
    const { token } = await admin.createEnrollToken.mutate({ environment: 'test', host: 'db-1', expiresInHours: 1 });
    await enroll(await readAgentConfig(both.configFile), control.url, token);
    return both;
  }

  get control(): Control {
    return this.#control;
  }
  async stopControl(): Promise<void> {
    await this.#control.close();
  }
  /** Starts the control plane again at the same address. */
  async startControl(): Promise<void> {
    const port = Number(new URL(this.#control.url).port);
    const dataDir = join(this.folder, 'control');
    const defaults = { clock: systemClock, log: silent as never };
    this.#control = await startControl({ ...defaults, ...this.#options, dataDir, port });
  }

  /** The first attempt of a job in the journal of the agent, read from the file. */
  journaled(jobId: string): AgentJob | undefined {
    const sqlite = new Database(this.journalFile, { readonly: true });
    try {
      const row = sqlite.prepare<[string], { json: string }>('select json from job where key = ?').get(`${jobId}#1`);
      return row === undefined ? undefined : (JSON.parse(row.json.slice(9)) as AgentJob);
    } finally {
      sqlite.close();
    }
  }

  get configFile(): string {
    return join(this.folder, 'agent.yaml');
  }
  get journalFile(): string {
    return join(this.folder, 'agent', 'journal.sqlite');
  }
  get agent(): Agent {
    if (this.#agent === undefined) throw new TypeError('the agent was not started');
    return this.#agent;
  }

  /** Changes the agent file; the first time it is a host with one target whose server is away. */
  async write(change: (config: AgentFile) => AgentFile): Promise<void> {
    const text = await readFile(this.configFile, 'utf8').catch(() => undefined);
    const config: AgentFile =
      text === undefined ? agentFile(this.control.url, this.folder) : (JSON.parse(text) as AgentFile);
    await writeFile(this.configFile, JSON.stringify(change(config)), { mode: 0o600 });
  }
  /** Starts the agent. By default it reconnects at once after each cut. */
  async startAgent(options: Partial<AgentOptions> = {}): Promise<void> {
    this.#agent = await startAgent({
      configFile: this.configFile,
      clock: systemClock,
      log: silent as never,
      random: () => 0,
      ...options,
    });
  }
  async stopAgent(): Promise<void> {
    await this.#agent?.close();
    this.#agent = undefined;
  }

  async send(spec: JobSpec, deadlineMs = 600_000): Promise<string> {
    const job = { target: spec.target, spec, idempotencyKey: randomUUID(), deadlineMs };
    return (await this.admin.createJob.mutate(job)).jobId;
  }
  async until<T>(what: string, ask: () => Promise<T | undefined>): Promise<T> {
    return await waitFor(what, 60_000, forever, ask);
  }
  async job(jobId: string, what: string, holds: (job: JobView) => boolean): Promise<JobView> {
    return await this.until(`${what} of ${jobId}`, async () => {
      const job = await this.admin.job.query({ jobId }).catch(() => undefined);
      return job !== undefined && holds(job) ? job : undefined;
    });
  }
  async ended(jobId: string): Promise<JobView> {
    return await this.job(jobId, 'the end', (job) => job.endedAt !== null);
  }
  async announced(count = 1): Promise<void> {
    await this.until('the targets to be announced', async () =>
      (await this.admin.targets.query({})).length >= count ? true : undefined,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAgent();
    await this.#cleanup.disposeAsync();
  }
}

export interface AgentFile {
  control: { url: string };
  environment: string;
  host: string;
  dataDir: string;
  repositories: Record<string, Record<string, unknown>>;
  targets: Record<string, Record<string, unknown>>;
}
const agentFile = (url: string, folder: string): AgentFile => ({
  control: { url },
  environment: 'test',
  host: 'db-1',
  dataDir: join(folder, 'agent'),
  repositories: { local: { type: 'folder', path: join(folder, 'repository') } },
  targets: {
    shop: {
      engine: 'postgres',
      repository: 'local',
      connection: { host: '127.0.0.1', port: 1, user: 'nobody' },
      allow: { restore: ['new', 'swap', 'in-place'], rotate: true, uncontainedRestoreTests: true, ...OPEN_LIMITS },
    },
  },
});
