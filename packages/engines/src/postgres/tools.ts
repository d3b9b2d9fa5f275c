import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Failure } from '@lastgood/core';
import { captureTool } from '@lastgood/host';
import { type Finding, makeFinding } from '@lastgood/protocol';

export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly text: string;
}
export interface ToolFolder {
  readonly path: string;
  readonly version: Version;
}

/**
 * The first minor release per branch without the dump defects that run code at restore (CVE-2025-8714, CVE-2025-8715); clients
 * below are refused. `current`: below it, known defects against hostile servers remain (CVE-2026-6477); that is a warning.
 */
const GATE: Readonly<Record<number, { readonly least: number; readonly current: number }>> = {
  13: { least: 22, current: 23 },
  14: { least: 19, current: 23 },
  15: { least: 14, current: 18 },
  16: { least: 10, current: 14 },
  17: { least: 6, current: 10 },
  18: { least: 0, current: 4 },
};

export function parseVersion(text: string): Version {
  const found = /(\d+)(?:\.(\d+))?/.exec(text);
  if (found?.[1] === undefined) throw new Failure('TOOL_VERSION', `not a version: "${text.trim().slice(0, 80)}"`);
  return {
    major: Number(found[1]),
    minor: Number(found[2] ?? 0),
    text: found[2] === undefined ? found[1] : `${found[1]}.${found[2]}`,
  };
}

/** Refuses a client that must not be used against a server (A10); returns warnings. */
export function checkVersions(client: Version, server: Version): Finding[] {
  if (client.major < server.major)
    throw new Failure('TOOL_VERSION', `pg_dump ${client.text} is older than the server (${server.text})`);
  const gate = GATE[client.major];
  if (client.major < 13) throw new Failure('TOOL_VERSION', `pg_dump ${client.text} is out of support`);
  if (gate === undefined) return [];
  if (client.minor < gate.least)
    throw new Failure(
      'TOOL_VERSION',
      `pg_dump ${client.text} has known defects that run code at restore; ${client.major}.${gate.least} is the least`,
    );
  if (client.minor >= gate.current) return [];
  const current = `${client.major}.${gate.current}`;
  return [makeFinding('CLIENT_TOOLS_OUTDATED', null, { version: client.text, current })];
}

function candidates(): string[] {
  const base = '/usr/lib/postgresql';
  const versions = existsSync(base)
    ? readdirSync(base)
        .filter((name) => /^\d+$/.test(name))
        .sort((a, b) => Number(b) - Number(a))
    : [];
  const packaged = ['18', '17', '16', '15', '14'].map((version) => `/usr/pgsql-${version}/bin`);
  return [
    ...versions.map((version) => join(base, version, 'bin')),
    ...packaged,
    ...(process.env['PATH'] ?? '').split(delimiter),
  ].filter((path) => path.startsWith('/') && existsSync(join(path, 'pg_dump')));
}

/** Where the client tools are: the folder of the agent file, or the first that fits the server's major version, or the newest. */
export async function findTools(
  binDir: string | undefined,
  signal: AbortSignal,
  serverMajor?: number,
): Promise<ToolFolder> {
  const folders = binDir === undefined ? candidates() : [binDir];
  const found: ToolFolder[] = [];
  for (const path of new Set(folders)) {
    const { stdout } = await captureTool(
      { file: join(path, 'pg_dump'), args: ['--version'], signal, timeoutMs: 20_000 },
      64 * 1024,
    );
    const folder = { path, version: parseVersion(stdout.replace(/^[^)]*\)/, '')) };
    if (serverMajor === undefined || folder.version.major === serverMajor) return folder;
    found.push(folder);
  }
  const [newest] = found.sort((a, b) => b.version.major - a.version.major);
  if (newest === undefined) throw new Failure('TOOL_NOT_FOUND', 'pg_dump was not found on this host');
  return newest;
}
