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

/** Where a program may lie, best first: the folder of the agent file alone, or the folders of the path. */
function candidates(product: Product, program: Program, binDir: string | undefined): string[] {
  const folders = binDir === undefined ? (process.env['PATH'] ?? '').split(delimiter) : [binDir];
  return folders
    .filter((folder) => folder.startsWith('/'))
    .map((folder) => join(folder, `${product}-${program}`))
    .filter((path) => existsSync(path));
}

/** The version that a program prints: `Redis server v=7.0.15 …`. */
export async function versionOf(path: string, signal: AbortSignal): Promise<Version> {
  const { stdout } = await captureTool({ file: path, args: ['--version'], signal, timeoutMs: 20_000 }, 4096);
  return parseVersion(/\bv=(\S+)/.exec(stdout)?.[1] ?? stdout);
}

export interface FoundProgram {
  readonly path: string;
  readonly version: Version;
}

/**
 * A program of one product and of the version that is asked for, major and minor; undefined when there is none. A server program under
 * the name of a check tool is that tool, and the other way round, so that each stands for the others.
 */
export async function findProgram(
  product: Product,
  program: Program,
  binDir: string | undefined,
  wanted: Version,
  signal: AbortSignal,
): Promise<FoundProgram | undefined> {
  for (const path of candidates(product, program, binDir)) {
    const version = await versionOf(path, signal);
    if (version.major === wanted.major && version.minor === wanted.minor) return { path, version };
  }
  return undefined;
}
