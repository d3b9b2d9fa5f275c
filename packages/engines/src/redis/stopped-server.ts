import { existsSync } from 'node:fs';
import { Failure } from '@lastgood/core';
import { type CapturedFile, captureConfig } from './config-files.ts';
import type { RedisConnection } from './connection-schema.ts';
import { type FoundServer, findInstalledServer } from './programs.ts';
import { splitWords } from './quoted-words.ts';
import { type Product, SETTINGS, type ServerFacts, type Settings } from './server-facts.ts';

/** Where packages put the configuration. */
const USUAL_FILES = ['/etc/redis/redis.conf', '/etc/valkey/valkey.conf'];
const DEFAULT_PORT = '6379';
const DEFAULT_DATABASES = '16';

/** What is known of a server that is not running, before its files are read. */
export interface StoppedServerHints {
  /** Configuration files that it had when a backup was made. */
  readonly configFiles: readonly string[];
  /** Preferred when servers of both products are installed. */
  readonly product: Product;
}

/** The lines of configuration files. In one file the last line of a name counts; files that disagree are refused. */
class ConfigLines {
  readonly #files: readonly (readonly (readonly string[])[])[];

  constructor(files: readonly CapturedFile[]) {
    this.#files = files
      .filter(({ kind }) => kind === 'config')
      .map(({ text }) => text.split('\n').flatMap((line) => [splitWords(line) ?? []]));
  }

  /** Undefined for a setting without a line. Throws CONFIG_INVALID when two files set it differently. */
  value(name: string): string | undefined {
    const values = this.#files.flatMap((lines) => {
      const last = lines.findLast((words) => words[0]?.toLowerCase() === name);
      return last === undefined ? [] : [last.slice(1).join(' ')];
    });
    if (new Set(values).size > 1)
      throw new Failure('CONFIG_INVALID', `the configuration files of the server set "${name}" to different values`, {
        remedy: 'Start the server, or set it in one of the files alone. The restore must know which one holds.',
      });
    return values[0];
  }
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1000,
  kb: 1024,
  m: 1000 ** 2,
  mb: 1024 ** 2,
  g: 1000 ** 3,
  gb: 1024 ** 3,
};

/** A size as configuration files have it: `100mb`. Null for anything else. */
export function parseSize(text: string): number | null {
  const [, digits, unit] = /^(\d+)([a-z]*)$/.exec(text.toLowerCase()) ?? [];
  const factor = unit === undefined ? undefined : SIZE_UNITS[unit];
  return digits === undefined || factor === undefined ? null : Number(digits) * factor;
}

/** True when a server with this configuration listens where the agent connects to. */
function listensAt(lines: ConfigLines, { socket, port, tls }: RedisConnection): boolean {
  if (socket !== undefined) return lines.value('unixsocket') === socket;
  return (tls === undefined ? (lines.value('port') ?? DEFAULT_PORT) : lines.value('tls-port')) === String(port);
}

async function readLines(configFile: string, signal: AbortSignal): Promise<ConfigLines> {
  const { files, missing } = await captureConfig({ configFile, aclFile: null, keepSecrets: false, signal });
  const [first] = missing;
  if (first !== undefined)
    throw new Failure(
      'CONFIG_INVALID',
      `the server is not running, and ${first.path} cannot be read: ${first.reason}`,
      {
        remedy: 'Let the agent read the configuration of the server, or start the server.',
      },
    );
  return new ConfigLines(files);
}

/** The file that the agent file names, or the first existing candidate of a server that listens at the address of the target. */
async function findConfig(
  connection: RedisConnection,
  candidates: readonly string[],
  signal: AbortSignal,
): Promise<{ path: string; lines: ConfigLines }> {
  const { configFile } = connection;
  if (configFile !== undefined) return { path: configFile, lines: await readLines(configFile, signal) };
  for (const path of new Set(candidates.filter((each) => existsSync(each)))) {
    const lines = await readLines(path, signal);
    if (listensAt(lines, connection)) return { path, lines };
  }
  throw new Failure('DATABASE_UNREACHABLE', 'the server is not running, and its configuration file was not found', {
    remedy: 'Set configFile in the connection of the target, or start the server.',
  });
}

function settingsOf(lines: ConfigLines, dataDir: string | undefined): Settings {
  const settings: Partial<Record<keyof Settings, string>> = {};
  for (const name of SETTINGS) {
    const value = lines.value(name);
    if (value !== undefined) settings[name] = value;
  }
  const { dir, ...others } = settings;
  // A relative folder depends on where the server was started.
  const known = dir?.startsWith('/') === true ? dir : dataDir;
  return { databases: DEFAULT_DATABASES, ...others, ...(known === undefined ? {} : { dir: known }) };
}

/** Modules that every server of this version has. */
function builtInModules({ product, version }: FoundServer): ServerFacts['modules'] {
  if (product === 'redis') return version.major >= 8 ? [{ name: 'vectorset', version: '1' }] : [];
  return version.major >= 9 ? [{ name: 'lua', version: '1' }] : [];
}

function modeOf(lines: ConfigLines): ServerFacts['mode'] {
  return lines.value('cluster-enabled')?.toLowerCase() === 'yes' ? 'cluster' : 'standalone';
}

function roleOf(lines: ConfigLines): ServerFacts['role'] {
  const master = lines.value('replicaof') ?? lines.value('slaveof');
  return master === undefined || master.toLowerCase() === 'no one' ? 'master' : 'replica';
}

/** As INFO reports it: the port of TLS when there is no other. */
function portOf(lines: ConfigLines): number {
  const port = Number(lines.value('port') ?? DEFAULT_PORT);
  return port === 0 ? Number(lines.value('tls-port') ?? 0) : port;
}

/**
 * The state of a server that is not running, from its configuration files and its programs. What only a running server knows has the value of
 * an empty one, or null. Throws DATABASE_UNREACHABLE when its configuration is not found, CONFIG_INVALID and TOOL_NOT_FOUND.
 */
export async function readStoppedServer(
  connection: RedisConnection,
  { configFiles, product }: StoppedServerHints,
  signal: AbortSignal,
): Promise<ServerFacts> {
  const { path, lines } = await findConfig(connection, [...configFiles, ...USUAL_FILES], signal);
  const installed = await findInstalledServer(product, connection.binDir, signal);
  const settings = settingsOf(lines, connection.dataDir);
  const role = roleOf(lines);
  const limit = parseSize(settings.maxmemory ?? '0');
  return {
    product: installed.product,
    version: installed.version.text,
    mode: modeOf(lines),
    role,
    connectedReplicas: 0,
    isInSync: role === 'replica' ? false : null,
    isWatchedBySentinel: null,
    isLoading: false,
    runId: '',
    replicationId: null,
    replicationOffset: null,
    port: portOf(lines),
    processId: 0,
    executable: installed.path,
    configFile: path,
    modules: builtInModules(installed),
    libraries: null,
    memory: {
      usedBytes: 0,
      systemBytes: null,
      limitBytes: limit ?? 0,
      evictionPolicy: settings['maxmemory-policy'] ?? 'noeviction',
    },
    keyspace: {},
    isAofEnabled: settings.appendonly?.toLowerCase() === 'yes',
    lastSaveAt: null,
    lastSaveFailed: false,
    lastAofWriteFailed: false,
    changesSinceSave: 0,
    settings,
    settingsRefusal: null,
  };
}
