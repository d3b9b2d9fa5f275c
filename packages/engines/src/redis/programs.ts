import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import type { Product } from './server-facts.ts';

export type Program = 'server' | 'check-rdb' | 'check-aof';
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly text: string;
}

export function parseVersion(text: string): Version {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(text) ?? [];
  if (major === undefined || minor === undefined)
    throw new Failure('TOOL_VERSION', `"${text.slice(0, 40)}" is not a version of Redis or Valkey`);
  return { major: Number(major), minor: Number(minor), text };
}

/** The version that a server program prints: `Redis server v=7.0.15 …`. */
async function serverVersion(path: string, signal: AbortSignal): Promise<Version> {
  const { stdout } = await captureTool({ file: path, args: ['--version'], signal, timeoutMs: 20_000 }, 4096);
  return parseVersion(/\bv=(\S+)/.exec(stdout)?.[1] ?? stdout);
}

export interface FoundProgram {
  readonly path: string;
  readonly version: Version;
}

const foldersOf = (binDir: string | undefined): string[] =>
  (binDir === undefined ? (process.env['PATH'] ?? '').split(delimiter) : [binDir]).filter((each) =>
    each.startsWith('/'),
  );

/**
 * A program of one product, of the major and minor version that is asked for; undefined when there is none. The version is that of the
 * server in the same folder: not every check tool can name its own.
 */
export async function findProgram(
  product: Product,
  program: Program,
  binDir: string | undefined,
  wanted: Version,
  signal: AbortSignal,
): Promise<FoundProgram | undefined> {
  for (const folder of foldersOf(binDir)) {
    const [server, path] = [join(folder, `${product}-server`), join(folder, `${product}-${program}`)];
    if (!existsSync(server) || !existsSync(path)) continue;
    const version = await serverVersion(server, signal);
    if (version.major === wanted.major && version.minor === wanted.minor) return { path, version };
  }
  return undefined;
}

export interface FoundServer extends FoundProgram {
  readonly product: Product;
}

/** The first server program on the path or in `binDir`, of the preferred product when both are there. Throws TOOL_NOT_FOUND. */
export async function findInstalledServer(
  preferred: Product,
  binDir: string | undefined,
  signal: AbortSignal,
): Promise<FoundServer> {
  for (const product of [preferred, preferred === 'redis' ? ('valkey' as const) : ('redis' as const)])
    for (const folder of foldersOf(binDir)) {
      const path = join(folder, `${product}-server`);
      if (existsSync(path)) return { product, path, version: await serverVersion(path, signal) };
    }
  throw new Failure('TOOL_NOT_FOUND', 'neither redis-server nor valkey-server was found on this host', {
    remedy: 'Install the server, or name the folder of its programs in binDir of the connection.',
  });
}

/** The server program of this version. Throws TOOL_NOT_FOUND. */
export async function findServerProgram(
  product: Product,
  version: string,
  binDir: string | undefined,
  signal: AbortSignal,
): Promise<string> {
  const found = await findProgram(product, 'server', binDir, parseVersion(version), signal);
  if (found !== undefined) return found.path;
  throw new Failure('TOOL_NOT_FOUND', `${product}-server ${version} was not found on this host`, {
    remedy:
      'Install the server program of this version, or name its folder in binDir of the connection: scratch servers need it.',
  });
}
