import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool } from '@lastgood/host';
import { Redis } from 'ioredis';
import { type RedisOptions, type RedisServer, startRedis } from './redis-server.ts';
import { temporaryFolder } from './temporary-folder.ts';
import { waitFor } from './wait-for.ts';

const never = new AbortController().signal;

/** A server that the scripts of an agent file start and stop. */
export interface RedisService extends AsyncDisposable {
  readonly connection: RedisServer['connection'];
  readonly dataDir: string;
  readonly configFile: string;
  /** The `service` of an agent file. */
  readonly service: {
    readonly kind: 'command';
    readonly start: [string];
    readonly stop: [string];
    readonly status: [string];
  };
  /** Runs one command as the user `default` in database 0; throws when the server is down. */
  call(...command: readonly (string | number)[]): Promise<unknown>;
  isUp(): Promise<boolean>;
  /** Waits until the server serves. */
  untilUp(): Promise<void>;
  /** Runs the script that starts it, and waits until it serves. */
  start(): Promise<void>;
  /** Runs the script that stops it, and waits until it is down. */
  stop(): Promise<void>;
}

/** Scripts as an operator would write them. The server ends when this process has ended. */
function scriptsOf(server: RedisServer, pidFile: string): Record<'start' | 'stop' | 'status', string> {
  const { user, programs, configFile } = server;
  const as = user === undefined ? '' : `/usr/bin/setpriv --reuid ${user.uid} --regid ${user.gid} --clear-groups -- `;
  const isRunning = `pid=$(cat '${pidFile}' 2>/dev/null) && [ -n "$pid" ] && readlink "/proc/$pid/exe" >/dev/null`;
  return {
    start: [
      // One that was killed, or that did not start, leaves its file.
      `{ ${isRunning}; } || rm -f '${pidFile}'`,
      `${as}'${programs.server}' '${configFile}' --daemonize yes --pidfile '${pidFile}' >/dev/null || exit 1`,
      `until [ -s '${pidFile}' ]; do sleep 0.02; done`,
      `( while kill -0 ${process.pid} 2>/dev/null && ${isRunning}; do sleep 1; done; ${isRunning} && kill -9 "$pid" ) >/dev/null 2>&1 &`,
      `echo $! >'${pidFile}.watch'`,
    ].join('\n'),
    stop: `kill "$(cat '${pidFile}.watch')" 2>/dev/null; ${isRunning} && kill -TERM "$pid"; exit 0`,
    status: `${isRunning} && exit 0; exit 3`,
  };
}

/** A real server that is up, with the scripts that start and stop it. Disposing ends it and removes its data. */
export async function startRedisService(options: RedisOptions = {}): Promise<RedisService> {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startRedis(options));
  await server.stop();
  // Only root and the user of the agent may be able to write the scripts: the folder of the server belongs to its user.
  const { path: folder } = cleanup.use(await temporaryFolder());
  const scripts = scriptsOf(server, `${server.configFile}.pid`);
  for (const [name, script] of Object.entries(scripts))
    await writeFile(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  const [start, stop, status] = [join(folder, 'start'), join(folder, 'stop'), join(folder, 'status')];
  const call = async (...[name = '', ...args]: readonly (string | number)[]): Promise<unknown> => {
    const client = new Redis({
      path: server.socket,
      password: server.password,
      protocol: 2,
      lazyConnect: true,
      disableClientInfo: true,
      enableReadyCheck: false,
      retryStrategy: () => null,
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      return await client.call(String(name), ...args);
    } finally {
      client.disconnect();
    }
  };
  const isUp = async (): Promise<boolean> =>
    await call('PING').then(
      (reply) => reply === 'PONG',
      () => false,
    );
  const untilUp = async (): Promise<void> => {
    await waitFor('the server', 60_000, never, async () => ((await isUp()) ? true : undefined));
  };
  const isRunning = async (): Promise<boolean> =>
    (await runTool({ file: status, args: [], signal: never, timeoutMs: 60_000, acceptedExitCodes: [3] })).exitCode ===
    0;
  const run = async (file: string): Promise<void> => {
    await runTool({ file, args: [], signal: never, timeoutMs: 60_000, startsServer: true });
  };
  const startServer = async (): Promise<void> => {
    await run(start);
    await untilUp();
  };
  const stopServer = async (): Promise<void> => {
    await run(stop);
    await waitFor('the server to end', 60_000, never, async () => ((await isRunning()) ? undefined : true));
  };
  cleanup.defer(stopServer);
  await startServer();
  const owned = cleanup.move();
  return {
    connection: server.connection,
    dataDir: server.dataDir,
    configFile: server.configFile,
    service: { kind: 'command', start: [start], stop: [stop], status: [status] },
    call,
    isUp,
    untilUp,
    start: startServer,
    stop: stopServer,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}
