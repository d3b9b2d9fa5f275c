import { randomUUID } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobSpec, JobView } from '@lastgood/protocol';
import {
  type AdminClient,
  adminClient,
  freePort,
  OPEN_LIMITS,
  type RunningProcess,
  root,
  startCommand,
  startProcess,
  testLimits,
  waitFor,
} from '@lastgood/testkit';

const forever = new AbortController().signal;
const control = join(root, 'apps/control/src/main.ts');
const sourceAgent = join(root, 'apps/agent/src/main.ts');

export interface FleetOptions {
  /** Runs what `npm run build` made, through bin/lastgood. The default runs the sources. */
  readonly builtAgent?: boolean;
  readonly port?: number;
  /** The port of a proxy through which the agent reaches the control plane. */
  readonly through?: number;
  readonly allow?: object;
  /** Settings of every target, such as another engine and its service. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** The restore folders of the agent file, by name. */
  readonly restoreFolders?: Readonly<Record<string, string>>;
  /** The repository of the targets; a folder when absent. */
  readonly repository?: object;
  /** Connections of more targets, by name. */
  readonly targets?: Readonly<Record<string, object>>;
  /** Changes the content of the agent file before it is written. */
  readonly change?: (file: AgentFileContent) => void;
}
/** The content of the agent file, as far as tests change it. */
export interface AgentFileContent {
  targets: Record<string, object>;
  trust?: string[];
  checks?: Record<string, object>;
  hooks?: Record<string, readonly string[]>;
  allow?: object;
}

/** Control plane and agent as separate processes over one folder; both can be killed and started again. */
export class Fleet implements AsyncDisposable {
  readonly folder: string;
  readonly url: string;
  readonly tokenFile: string;
  readonly #agentCommand: readonly [string, ...string[]];
  /** Where the agent finds the control plane: there, or a faulty network before it. */
  readonly #agentUrl: string;
  #control: RunningProcess | undefined;
  #agent: RunningProcess | undefined;
  /** The pids of every agent that was started, dead ones too. */
  readonly agentPids: number[] = [];
  #client: AdminClient | undefined;

  constructor(folder: string, port: number, { builtAgent = false, through }: FleetOptions) {
    this.folder = folder;
    this.#agentCommand = builtAgent ? [join(root, 'bin/lastgood'), 'agent'] : [process.execPath, sourceAgent];
    this.url = `http://127.0.0.1:${port}`;
    this.#agentUrl = through === undefined ? this.url : `http://127.0.0.1:${through}`;
    this.tokenFile = join(folder, 'control', 'admin.token');
  }

  /** Starts both, enrolls the agent and waits until its target `shop` is announced. */
  static async start(folder: string, connection: object, options: FleetOptions = {}): Promise<Fleet> {
    await using cleanup = new AsyncDisposableStack();
    const fleet = cleanup.use(new Fleet(folder, options.port ?? (await freePort()), options));
    await fleet.startControl();
    await mkdir(join(folder, 'repository'), { mode: 0o700 });
    const { readable, allowUncontained: uncontainedRestoreTests } = testLimits;
    const config = {
      control: { url: fleet.#agentUrl },
      environment: 'test',
      host: 'db-1',
      labels: {},
      dataDir: join(folder, 'agent'),
      restoreFolders: options.restoreFolders ?? {},
      restoreTests: { readable },
      repositories: { local: options.repository ?? { type: 'folder', path: join(folder, 'repository') } },
      targets: Object.fromEntries(
        Object.entries({ shop: connection, ...options.targets }).map(([name, each]) => [
          name,
          {
            engine: 'postgres',
            labels: {},
            repository: 'local',
            connection: each,
            allow: {
              uncontainedRestoreTests,
              ...(options.allow ?? { restore: ['new', 'swap', 'in-place'], rotate: true, ...OPEN_LIMITS }),
            },
            ...options.settings,
          },
        ]),
      ),
    };
    options.change?.(config);
    await writeFile(fleet.configFile, JSON.stringify(config), { mode: 0o600 });
    await fleet.enroll();
    await fleet.startAgent();
    await fleet.untilOnline();
    cleanup.move();
    return fleet;
  }

  /** Enrolls the host, also again with a control plane that has lost its catalog. */
  async enroll(): Promise<void> {
    const { token } = await this.client.createEnrollToken.mutate({
      environment: 'test',
      host: 'db-1',
      expiresInHours: 1,
    });
    const tokenFile = join(this.folder, 'enroll.token');
    await writeFile(tokenFile, token, { mode: 0o600 });
    const args = ['enroll', '--config', this.configFile, '--url', this.url, '--token-file', tokenFile];
    await (await startCommand('enroll', [...this.#agentCommand, ...args], undefined)).ended;
  }

  get configFile(): string {
    return join(this.folder, 'agent.yaml');
  }
  get client(): AdminClient {
    if (this.#client === undefined) throw new TypeError('the control plane was not started');
    return this.#client;
  }

  /** What the agent has logged since it was started. */
  get agentLog(): string {
    return this.#agent?.printed() ?? '';
  }
  /** What the control plane has logged since it was started. */
  get controlLog(): string {
    return this.#control?.printed() ?? '';
  }
  /** Asks the agent to end, and gives its exit status. */
  async stopAgent(): Promise<number | null> {
    await this.#agent?.kill('SIGTERM');
    return this.#agent?.child.exitCode ?? null;
  }
  async untilLogged(text: string): Promise<void> {
    await waitFor(`the agent to log "${text}"`, 60_000, forever, async () =>
      this.agentLog.includes(text) ? true : undefined,
    );
  }

  get agentPid(): number {
    return this.#agent?.pid ?? -1;
  }

  async startControl(env: Record<string, string> = {}): Promise<void> {
    const port = new URL(this.url).port;
    this.#control = await startProcess(
      'control',
      [control, '--data', join(this.folder, 'control'), '--port', port],
      undefined,
      env,
    );
    await waitFor('the control plane', 60_000, forever, async () =>
      (await fetch(`${this.url}/healthz`).catch(() => undefined))?.ok ? true : undefined,
    );
    this.#client = await adminClient(this.url, this.tokenFile);
  }
  async startAgent(env: Record<string, string> = {}): Promise<void> {
    const command = [...this.#agentCommand, 'run', '--config', this.configFile] as const;
    this.#agent = await startCommand('agent', command, undefined, env);
    this.agentPids.push(this.agentPid);
  }
  async killControl(): Promise<void> {
    await this.#control?.kill('SIGKILL');
  }
  async killAgent(): Promise<void> {
    await this.#agent?.kill('SIGKILL');
  }
  /** Resolves when the agent's process has ended by itself, with its exit status. */
  async agentEnded(): Promise<number | null> {
    await this.#agent?.ended.catch(() => undefined);
    return this.#agent?.child.exitCode ?? null;
  }

  async untilOnline(): Promise<void> {
    await waitFor('the target to be announced', 60_000, forever, async () =>
      (await this.client.targets.query({})).some((target) => target.online && target.state === 'ok') ? true : undefined,
    );
  }
  async untilOffline(): Promise<void> {
    await waitFor('the host to be offline', 60_000, forever, async () =>
      (await this.client.hosts.query({})).every((host) => host.state !== 'online') ? true : undefined,
    );
  }
  async send(spec: JobSpec, times: { deadlineMs?: number } = {}): Promise<string> {
    const job = { target: spec.target, spec, idempotencyKey: randomUUID(), ...times };
    return (await this.client.createJob.mutate(job)).jobId;
  }
  async ended(jobId: string): Promise<JobView> {
    return await this.until(jobId, `the end of ${jobId}`, (job) => job.endedAt !== null);
  }
  async until(jobId: string, what: string, holds: (job: JobView) => boolean): Promise<JobView> {
    return await waitFor(what, 180_000, forever, async () => {
      const job = await this.client.job.query({ jobId }).catch(() => undefined);
      return job !== undefined && holds(job) ? job : undefined;
    });
  }
  async run(spec: JobSpec): Promise<JobView> {
    return await this.ended(await this.send(spec));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent?.kill('SIGTERM').catch(() => undefined);
    await this.#control?.kill('SIGTERM').catch(() => undefined);
  }
}
