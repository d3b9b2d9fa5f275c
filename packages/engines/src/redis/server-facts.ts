import { Failure } from '@lastgood/core';
import type { RedisSession } from './client.ts';
import { readInfo, type ServerInfo } from './info.ts';
import { hasReplyCode, type ReplyCode } from './reply-failure.ts';

export type Product = 'redis' | 'valkey';

/** Settings that decide how a server keeps its data. Absent where the version has no such setting. */
export const SETTINGS = [
  'dir',
  'dbfilename',
  'save',
  'rdbchecksum',
  'appendonly',
  'appendfilename',
  'appenddirname',
  'appendfsync',
  'aof-use-rdb-preamble',
  'auto-aof-rewrite-percentage',
  'stop-writes-on-bgsave-error',
  'aclfile',
  'databases',
  'maxmemory',
  'maxmemory-policy',
] as const;
export type Setting = (typeof SETTINGS)[number];
export type Settings = Readonly<Partial<Record<Setting, string>>>;

/** The state of one server, as INFO and CONFIG GET report it. */
export interface ServerFacts {
  readonly product: Product;
  /** Of the product: `8.0.1` for a Valkey 8.0.1 that also claims to be a Redis 7.2.4. */
  readonly version: string;
  readonly mode: 'standalone' | 'sentinel' | 'cluster';
  readonly role: 'master' | 'replica';
  readonly connectedReplicas: number;
  /** For a replica: whether it has a complete and current copy of its master. Null for a master. */
  readonly isInSync: boolean | null;
  /** Null when the user of the agent may not list clients. */
  readonly isWatchedBySentinel: boolean | null;
  readonly isLoading: boolean;
  /** Changes with every start of the server. */
  readonly runId: string;
  /** Changes with the history of the data set. */
  readonly replicationId: string | null;
  readonly replicationOffset: number | null;
  /** Null when it does not report one. */
  readonly port: number | null;
  readonly processId: number;
  readonly executable: string | null;
  readonly configFile: string | null;
  readonly modules: readonly { readonly name: string; readonly version: string }[];
  readonly libraries: number | null;
  readonly memory: {
    readonly usedBytes: number;
    readonly systemBytes: number | null;
    /** Zero for no limit. */
    readonly limitBytes: number;
    readonly evictionPolicy: string | null;
  };
  readonly keyspace: Readonly<Record<string, { readonly keys: number; readonly expires: number }>>;
  readonly isAofEnabled: boolean;
  readonly lastSaveAt: number | null;
  readonly lastSaveFailed: boolean;
  readonly lastAofWriteFailed: boolean;
  readonly changesSinceSave: number | null;
  /** Null when the user of the agent may not read them, or the command was renamed; `settingsRefusal` is the reply code then. */
  readonly settings: Settings | null;
  readonly settingsRefusal: ReplyCode | null;
}

/**
 * Reads the state of a server. Needs `+info`; with `+config|get` and `+client|list` it reports all fields, and without them null for some. Fails
 * when the server cannot be reached or reports no version.
 */
export async function readServerFacts(session: RedisSession): Promise<ServerFacts> {
  const info = await readInfo(session);
  const { settings, refusal } = await readSettings(session);
  const valkey = info.text('valkey_version');
  const version = valkey ?? info.text('redis_version');
  const runId = info.text('run_id');
  if (version === null || runId === null)
    throw new Failure('DATABASE_REFUSED', 'the server does not report its version and run id', {
      remedy: 'Grant +info to the ACL user of the agent, and connect to the server itself and not through a proxy.',
    });
  return {
    product: valkey === null ? 'redis' : 'valkey',
    version,
    mode: modeOf(info),
    ...replicationOf(info),
    isWatchedBySentinel: await isWatchedBySentinel(session),
    isLoading: info.flag('loading') || info.flag('async_loading'),
    runId,
    port: info.number('tcp_port'),
    processId: info.number('process_id') ?? 0,
    executable: nonEmpty(info.text('executable')),
    configFile: nonEmpty(info.text('config_file')),
    modules: info.modules(),
    libraries: info.number('number_of_libraries'),
    memory: {
      usedBytes: info.number('used_memory') ?? 0,
      systemBytes: info.number('total_system_memory'),
      limitBytes: info.number('maxmemory') ?? 0,
      evictionPolicy: info.text('maxmemory_policy'),
    },
    keyspace: info.keyspace(),
    isAofEnabled: info.flag('aof_enabled'),
    lastSaveAt: info.number('rdb_last_save_time'),
    lastSaveFailed: info.text('rdb_last_bgsave_status') === 'err',
    lastAofWriteFailed:
      info.text('aof_last_write_status') === 'err' || info.text('aof_last_bgrewrite_status') === 'err',
    changesSinceSave: info.number('rdb_changes_since_last_save'),
    settings,
    settingsRefusal: refusal,
  };
}

const nonEmpty = (text: string | null): string | null => (text === '' ? null : text);

function modeOf(info: ServerInfo): ServerFacts['mode'] {
  if (info.text('redis_mode') === 'sentinel' || info.text('server_mode') === 'sentinel') return 'sentinel';
  return info.flag('cluster_enabled') ? 'cluster' : 'standalone';
}

function replicationOf(
  info: ServerInfo,
): Pick<ServerFacts, 'role' | 'connectedReplicas' | 'isInSync' | 'replicationId' | 'replicationOffset'> {
  const isReplica = info.text('role') === 'slave';
  return {
    role: isReplica ? 'replica' : 'master',
    connectedReplicas: info.number('connected_slaves') ?? 0,
    isInSync: isReplica ? info.text('master_link_status') === 'up' && !info.flag('master_sync_in_progress') : null,
    replicationId: info.text('master_replid'),
    replicationOffset: info.number(isReplica ? 'slave_repl_offset' : 'master_repl_offset'),
  };
}

async function readSettings(session: RedisSession): Promise<{ settings: Settings | null; refusal: ReplyCode | null }> {
  try {
    const settings: Partial<Record<Setting, string>> = {};
    // One at a time: several at once are known since 7.0 alone.
    for (const setting of SETTINGS) {
      const reply = await session.call('CONFIG', 'GET', setting);
      if (Array.isArray(reply) && reply.length === 2) settings[setting] = String(reply[1]);
    }
    return { settings, refusal: null };
  } catch (error) {
    if (hasReplyCode(error, 'NOPERM', 'ERR')) return { settings: null, refusal: error.replyCode };
    throw error;
  }
}

/** Sentinels name their connections. */
async function isWatchedBySentinel(session: RedisSession): Promise<boolean | null> {
  try {
    return / name=sentinel-[0-9a-f]+-(?:cmd|pubsub) /.test(String(await session.call('CLIENT', 'LIST')));
  } catch (error) {
    if (hasReplyCode(error, 'NOPERM', 'ERR', 'LOADING')) return null;
    throw error;
  }
}
