import type { Version } from './programs.ts';
import type { RdbMagic } from './rdb-format.ts';
import type { Product } from './server-facts.ts';

export interface RdbFormat {
  readonly magic: RdbMagic;
  readonly version: number;
}
export interface ServerVersion {
  readonly product: Product;
  readonly version: Version;
}
export type Loadable = 'yes' | 'no' | 'unknown';

/** The newest RDB version that each release of Redis reads and writes, oldest release first. */
const REDIS: readonly { readonly since: readonly [number, number]; readonly reads: number }[] = [
  { since: [5, 0], reads: 9 },
  { since: [7, 0], reads: 10 },
  { since: [7, 2], reads: 11 },
  { since: [7, 4], reads: 12 },
];
/** Releases after this one may read more. */
const NEWEST_KNOWN: readonly [number, number] = [8, 2];
/** The last format that both products share: Valkey began as Redis 7.2. */
const SHARED = 11;
/** The version from which on Valkey writes files of its own. */
const VALKEY_FORMAT = 80;
const VALKEY_OWN_FORMAT_SINCE = 9;

const isSince = ({ major, minor }: Version, [wantedMajor, wantedMinor]: readonly [number, number]): boolean =>
  major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);

/**
 * Whether a server reads a file of this format. Redis since 7.4 and Valkey since 9 do not read each other's files. `unknown` for releases
 * and formats that are newer than this table: a scratch server of the same version decides.
 */
export function canLoadRdb({ product, version }: ServerVersion, file: RdbFormat): Loadable {
  if (product === 'redis') {
    if (file.magic === 'VALKEY') return 'no';
    const known = REDIS.findLast(({ since }) => isSince(version, since));
    if (file.version <= (known?.reads ?? 0)) return 'yes';
    const isNewer =
      version.major > NEWEST_KNOWN[0] || (version.major === NEWEST_KNOWN[0] && version.minor > NEWEST_KNOWN[1]);
    return isNewer ? 'unknown' : 'no';
  }
  if (file.magic === 'REDIS') return file.version <= SHARED ? 'yes' : 'no';
  if (version.major < VALKEY_OWN_FORMAT_SINCE) return 'no';
  return file.version <= VALKEY_FORMAT ? 'yes' : 'unknown';
}

/**
 * Whether a server understands the commands of append-only files: those of its own product up to its own version, and those of Redis up
 * to 7.2, from which both products come.
 */
export function canReplayCommands(server: ServerVersion, writer: ServerVersion): Loadable {
  const isCommon = writer.product === 'redis' && !isSince(writer.version, [7, 4]);
  if (server.product !== writer.product) return isCommon ? 'yes' : 'no';
  return isSince(server.version, [writer.version.major, writer.version.minor]) ? 'yes' : 'unknown';
}
