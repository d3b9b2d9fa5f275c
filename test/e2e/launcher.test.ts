import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { root, temporaryFolder, waitFor } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const launcher = join(root, 'bin/lastgood');
const forever = new AbortController().signal;

class Launched implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown[]>;
  printed = '';
  constructor(args: readonly string[], env: Record<string, string> = {}) {
    this.child = spawn(launcher, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.ended = once(this.child, 'close');
    for (const stream of [this.child.stdout, this.child.stderr])
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.printed += text;
      });
  }
  async untilPrinted(pattern: RegExp): Promise<RegExpExecArray> {
    return await waitFor(`${pattern}`, 30_000, forever, async () => {
      if (this.child.exitCode !== null) throw new TypeError(`the process ended: ${this.printed}`);
      return pattern.exec(this.printed) ?? undefined;
    });
  }
  /** Sends a signal and returns the exit status. */
  async stop(signal: NodeJS.Signals): Promise<number | null> {
    this.child.kill(signal);
    await this.ended;
    return this.child.exitCode;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill('SIGKILL');
    await this.ended;
  }
}
const childrenOf = async (pid: number | undefined): Promise<string> =>
  (await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')).trim();

test('J1: `lastgood` starts a daemon as one process, which receives the signals of its supervisor', async () => {
  await using folder = await temporaryFolder();
  const data = join(folder.path, 'control');
  await using control = new Launched(['control', '--data', data, '--port', '0']);
  const [, url = ''] = await control.untilPrinted(/"url":"([^"]+)"|(?=never)/);
  expect(await childrenOf(control.child.pid)).toBe('');
  const token = (await readFile(join(data, 'admin.token'), 'utf8')).trim();
  const env = { LASTGOOD_URL: url, LASTGOOD_TOKEN: token };

  const config = join(folder.path, 'agent.yaml');
  await mkdir(join(folder.path, 'repository'), { mode: 0o700 });
  const agentFile = {
    control: { url },
    environment: 'test',
    host: 'db-1',
    dataDir: join(folder.path, 'agent'),
    repositories: { local: { type: 'folder', path: join(folder.path, 'repository') } },
    targets: {},
  };
  await writeFile(config, JSON.stringify(agentFile), { mode: 0o600 });
  const tokenFile = join(folder.path, 'enroll.token');
  const issued = execFileSync(launcher, ['tokens', 'enroll', 'test', 'db-1'], {
    env: { ...process.env, ...env },
    stdio: 'pipe',
  });
  await writeFile(tokenFile, issued, { mode: 0o600 });
  execFileSync(launcher, ['agent', 'enroll', '--config', config, '--url', url, '--token-file', tokenFile], {
    stdio: 'pipe',
  });

  await using agent = new Launched(['agent', '--config', config]);
  await agent.untilPrinted(/connected to the control plane/);
  expect(await childrenOf(agent.child.pid)).toBe('');
  agent.child.kill('SIGHUP');
  await agent.untilPrinted(/the agent file was read again/);
  expect(await agent.stop('SIGTERM')).toBe(0);
  expect(await control.stop('SIGTERM')).toBe(0);
});
