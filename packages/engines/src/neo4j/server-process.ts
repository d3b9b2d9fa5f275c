import { setTimeout as delay } from 'node:timers/promises';
import { runTool, type ToolCall } from '@lastgood/host';
import { type JavaContext, javaCall, type Neo4jRuntime } from './java-call.ts';
import type { ProcessIdentity } from './process-identity.ts';
import type { StoreFolders } from './store-folders.ts';
import { findServerProcess } from './store-lock.ts';
import type { Settings, ToolHome } from './tool-home.ts';

const MAIN = 'org.neo4j.server.CommunityEntryPoint';
const POLL_MS = 50;
/** What a server that was killed ends with, and Java when it runs out of memory: nothing is decided by it. */
const EVERY_EXIT_STATUS = Array.from({ length: 255 }, (_, index) => index + 1);

/** Settings of every server of ours: nothing listens but what is asked for, and nothing is written for durability's sake. */
export function scratchSettings(runtime: Neo4jRuntime, store: StoreFolders, database: string): Settings {
  return {
    'server.directories.data': store.data,
    'server.directories.transaction.logs.root': store.transactions,
    'server.directories.lib': runtime.libFolder,
    'server.default_listen_address': '127.0.0.1',
    'server.default_advertised_address': '127.0.0.1',
    'server.http.enabled': 'false',
    'server.https.enabled': 'false',
    'server.memory.pagecache.size': `${runtime.pageCacheMb}m`,
    'initial.dbms.default_database': database,
    'db.tx_log.preallocate': 'false',
    'dbms.security.allow_csv_import_from_file_urls': 'false',
    'dbms.usage_report.enabled': 'false',
    // Without these a stop waits ten seconds for connections.
    'internal.dbms.bolt.netty_server_shutdown_quiet_period': '0',
    'internal.server.bolt.thread_pool_shutdown_wait_time': '1ms',
    'internal.server.bolt.connection_shutdown_wait_time': '1ms',
  };
}

export interface ServerProcess {
  /** Settles when the process is gone: resolves whatever its exit status, rejects when it could not be started or was canceled. */
  readonly ended: Promise<void>;
  isGone(): boolean;
  /** The process, once it holds its data folder; null when it ended before. */
  identify(): Promise<ProcessIdentity | null>;
}

/** Starts a server in a home of its own. It dies with the agent, and when the signal aborts. */
export function startServerProcess(
  runtime: Neo4jRuntime,
  home: ToolHome,
  context: JavaContext,
  limits: Pick<ToolCall, 'signal' | 'timeoutMs'>,
): ServerProcess {
  const { store } = context;
  const main = [MAIN, `--home-dir=${home.path}`, `--config-dir=${home.confFolder}`];
  const call = { ...javaCall(runtime, home, context, main, limits), acceptedExitCodes: EVERY_EXIT_STATUS };
  let gone = false;
  const ended = runTool(call)
    .then(() => undefined)
    .finally(() => {
      gone = true;
    });
  ended.catch(() => undefined);
  return {
    ended,
    isGone: () => gone,
    async identify() {
      for (;;) {
        const found = await findServerProcess(store);
        if (found !== null || gone) return found;
        await delay(POLL_MS, undefined, { signal: limits.signal });
      }
    },
  };
}
