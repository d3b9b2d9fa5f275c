import { describe, expect, test } from 'vitest';
import {
  canLoadRdb,
  canReplayCommands,
  parseVersion,
  planRestore,
  type RestoreRefusalCode,
  type RestoreSource,
  type RestoreTarget,
  type ServerFacts,
  unpersistedSettings,
} from '../src/redis/index.ts';

const GIB = 1024 ** 3;
const source: RestoreSource = {
  method: 'rdb',
  product: 'redis',
  version: '7.0.15',
  format: { magic: 'REDIS', version: 10 },
  bytes: GIB,
  memoryBytes: 2 * GIB,
  evictionPolicy: 'noeviction',
  databases: { 0: { keys: 10, expires: 0 }, 3: { keys: 1, expires: 1 } },
  moduleTypes: [],
  modules: [],
};
const facts: ServerFacts = {
  product: 'redis',
  version: '7.0.15',
  mode: 'standalone',
  role: 'master',
  connectedReplicas: 0,
  isInSync: null,
  isWatchedBySentinel: false,
  isLoading: false,
  runId: 'a',
  replicationId: 'b',
  replicationOffset: 0,
  port: 6379,
  processId: 1,
  executable: '/usr/bin/redis-server',
  configFile: '/etc/redis/redis.conf',
  modules: [],
  libraries: 0,
  memory: { usedBytes: GIB, systemBytes: 8 * GIB, limitBytes: 0, evictionPolicy: 'noeviction' },
  keyspace: {},
  isAofEnabled: false,
  lastSaveAt: 1,
  lastSaveFailed: false,
  lastAofWriteFailed: false,
  changesSinceSave: 0,
  settings: { dir: '/var/lib/redis', dbfilename: 'dump.rdb', appendonly: 'no', databases: '16' },
  settingsRefusal: null,
};
const target: RestoreTarget = {
  facts,
  dataDir: undefined,
  unpersisted: [],
  freeDiskBytes: 4 * GIB,
  availableMemoryBytes: 4 * GIB,
};
interface Change {
  readonly source?: Partial<RestoreSource>;
  readonly facts?: Partial<ServerFacts>;
  readonly target?: Partial<RestoreTarget>;
}
const plan = (change: Change) =>
  planRestore({ ...source, ...change.source }, { ...target, facts: { ...facts, ...change.facts }, ...change.target });

test('a restore that nothing stands against replaces the files of the server', () => {
  expect(plan({})).toEqual({
    way: 'plain',
    files: {
      dir: '/var/lib/redis',
      rdbName: 'dump.rdb',
      appendFolderName: 'appendonlydir',
      appendFilename: 'appendonly.aof',
    },
    refusals: [],
    warnings: [],
    needDiskBytes: GIB,
    needMemoryBytes: 2 * GIB,
    saveBeforeStop: false,
  });
});

test('the data folder has the name under which the agent sees it', () => {
  expect(plan({ target: { dataDir: '/srv/volume' } }).files?.dir).toBe('/srv/volume');
});

describe('the way of the files', () => {
  test.for([
    { method: 'rdb', isAofEnabled: false, way: 'plain' },
    { method: 'rdb', isAofEnabled: true, way: 'seed' },
    { method: 'aof', isAofEnabled: true, way: 'set' },
  ] as const)('of a backup of $method, AOF $isAofEnabled, is $way', ({ method, isAofEnabled, way }) => {
    expect(plan({ source: { method }, facts: { isAofEnabled } })).toMatchObject({ way, refusals: [] });
  });

  test('a server without an append-only file saves before it stops, so that undo loses nothing', () => {
    expect(plan({ facts: { changesSinceSave: 5 } }).saveBeforeStop).toBe(true);
    expect(plan({ facts: { changesSinceSave: 5, isAofEnabled: true } }).saveBeforeStop).toBe(false);
  });
});

describe('a restore is refused', () => {
  test.for<{ code: RestoreRefusalCode; change: Change }>([
    { code: 'SERVER_IS_LOADING', change: { facts: { isLoading: true } } },
    { code: 'SERVER_IS_REPLICA', change: { facts: { role: 'replica', isInSync: true } } },
    { code: 'SERVER_HAS_REPLICAS', change: { facts: { connectedReplicas: 2 } } },
    { code: 'SERVER_WATCHED_BY_SENTINEL', change: { facts: { isWatchedBySentinel: true } } },
    { code: 'SERVER_IS_SENTINEL', change: { facts: { mode: 'sentinel' } } },
    { code: 'SERVER_IS_CLUSTER_NODE', change: { facts: { mode: 'cluster' } } },
    { code: 'SERVER_SETTINGS_UNKNOWN', change: { facts: { settings: null, settingsRefusal: 'NOPERM' } } },
    { code: 'SETTING_NOT_PERSISTED', change: { target: { unpersisted: ['appendonly'] } } },
    { code: 'APPENDONLY_OFF', change: { source: { method: 'aof' } } },
    {
      code: 'FORMAT_NOT_READABLE',
      change: { source: { version: '8.2.3', format: { magic: 'REDIS', version: 12 } } },
    },
    {
      code: 'COMMANDS_NOT_UNDERSTOOD',
      change: {
        source: { method: 'aof', product: 'redis', version: '8.2.3' },
        facts: { product: 'valkey', version: '9.1.2', isAofEnabled: true },
      },
    },
    {
      code: 'MODULE_MISSING',
      change: { source: { moduleTypes: ['graphdata'], modules: [{ name: 'graph', version: '40000' }] } },
    },
    { code: 'MODULE_MISSING', change: { source: { moduleTypes: ['vectorset'] } } },
    { code: 'TOO_FEW_DATABASES', change: { source: { databases: { 20: { keys: 1, expires: 0 } } } } },
    { code: 'MEMORY_LIMIT', change: { facts: { memory: { ...facts.memory, limitBytes: GIB } } } },
    { code: 'MEMORY_OF_HOST', change: { target: { availableMemoryBytes: GIB / 2 } } },
    { code: 'SERVER_SPACE_LOW', change: { target: { freeDiskBytes: GIB / 2 } } },
  ])('with $code', ({ code, change }) => {
    const { refusals } = plan(change);
    expect(refusals.map((refusal) => refusal.code)).toEqual([code]);
  });
});

describe('a restore is warned of', () => {
  test.for<{ code: string; change: Change }>([
    { code: 'SENTINEL_UNKNOWN', change: { facts: { isWatchedBySentinel: null } } },
    {
      code: 'FORMAT_UNKNOWN',
      change: { source: { format: { magic: 'REDIS', version: 14 } }, facts: { version: '9.0.0' } },
    },
    {
      code: 'MODULE_OLDER',
      change: {
        source: { moduleTypes: ['graphdata'], modules: [{ name: 'graph', version: '40000' }] },
        facts: { modules: [{ name: 'graph', version: '39999' }] },
      },
    },
    {
      code: 'EVICTION_POLICY_DIFFERS',
      change: { facts: { memory: { ...facts.memory, evictionPolicy: 'allkeys-lru' } } },
    },
    { code: 'SCRATCH_TEST_NEEDS_MEMORY', change: { target: { availableMemoryBytes: 1.5 * GIB } } },
    { code: 'UNSAVED_CHANGES', change: { facts: { lastSaveFailed: true } } },
  ])('$code', ({ code, change }) => {
    const { warnings, refusals } = plan(change);
    expect(warnings.map((warning) => warning.code)).toEqual([code]);
    expect(refusals).toEqual([]);
  });
});

describe('formats', () => {
  const server = (product: 'redis' | 'valkey', version: string) => ({ product, version: parseVersion(version) });
  test.for([
    { server: server('redis', '7.0.15'), magic: 'REDIS', version: 10, loadable: 'yes' },
    { server: server('redis', '7.0.15'), magic: 'REDIS', version: 11, loadable: 'no' },
    { server: server('redis', '7.2.4'), magic: 'REDIS', version: 11, loadable: 'yes' },
    { server: server('redis', '7.4.1'), magic: 'REDIS', version: 12, loadable: 'yes' },
    { server: server('redis', '8.0.2'), magic: 'REDIS', version: 12, loadable: 'yes' },
    { server: server('redis', '8.2.3'), magic: 'REDIS', version: 13, loadable: 'no' },
    { server: server('redis', '8.10.0'), magic: 'REDIS', version: 13, loadable: 'unknown' },
    { server: server('redis', '8.10.0'), magic: 'VALKEY', version: 80, loadable: 'no' },
    { server: server('valkey', '8.1.1'), magic: 'REDIS', version: 11, loadable: 'yes' },
    { server: server('valkey', '8.1.1'), magic: 'REDIS', version: 12, loadable: 'no' },
    { server: server('valkey', '8.1.1'), magic: 'VALKEY', version: 80, loadable: 'no' },
    { server: server('valkey', '9.1.2'), magic: 'VALKEY', version: 80, loadable: 'yes' },
    { server: server('valkey', '9.1.2'), magic: 'VALKEY', version: 81, loadable: 'unknown' },
    { server: server('valkey', '10.0.0'), magic: 'REDIS', version: 12, loadable: 'no' },
  ] as const)('$server.product $server.version.text reads $magic$version: $loadable', (row) => {
    expect(canLoadRdb(row.server, { magic: row.magic, version: row.version })).toBe(row.loadable);
  });

  test.for([
    { server: server('redis', '7.0.15'), writer: server('redis', '7.0.11'), replayable: 'yes' },
    { server: server('redis', '7.0.15'), writer: server('redis', '7.2.1'), replayable: 'unknown' },
    { server: server('valkey', '9.1.2'), writer: server('redis', '7.2.1'), replayable: 'yes' },
    { server: server('valkey', '9.1.2'), writer: server('redis', '7.4.0'), replayable: 'no' },
    { server: server('redis', '8.2.3'), writer: server('valkey', '8.0.1'), replayable: 'no' },
  ] as const)(
    '$server.product $server.version.text replays $writer.product $writer.version.text: $replayable',
    (row) => {
      expect(canReplayCommands(row.server, row.writer)).toBe(row.replayable);
    },
  );
});

describe('settings that a restart would change', () => {
  const running = { appendonly: 'yes', appendfilename: 'appendonly.aof', appenddirname: 'aof', dbfilename: 'dump.rdb' };
  test.for([
    { files: ['appendonly yes\nappenddirname aof\n'], changed: [] },
    { files: ['AppendOnly YES\nappenddirname "aof"\n'], changed: [] },
    { files: ['appenddirname aof\n', 'appendonly yes\n'], changed: [] },
    { files: ['# appendonly yes\nappenddirname aof\n'], changed: ['appendonly'] },
    { files: ['appendonly yes\nappenddirname aof\nappendonly no\n'], changed: ['appendonly'] },
    { files: ['appendonly yes\ndbfilename other.rdb\n'], changed: ['appenddirname', 'dbfilename'] },
    { files: [], changed: ['appendonly', 'appenddirname'] },
  ])('$files → $changed', ({ files, changed }) => {
    expect(unpersistedSettings(running, files).sort()).toEqual([...changed].sort());
  });
});
