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

interface Gate {
  /** The first minor release without the `defect`; clients below are refused. */
  readonly least: number;
  readonly defect: string;
  /** Below it, known defects against hostile servers remain (CVE-2026-6477); that is a warning. */
  readonly current: number;
}
/** CVE-2025-8714 and CVE-2025-8715. */
const RUNS_CODE = 'has known defects that run code at restore';
const GATE: Readonly<Record<number, Gate>> = {
  13: { least: 22, defect: RUNS_CODE, current: 23 },
  14: { least: 19, defect: RUNS_CODE, current: 23 },
  15: { least: 14, defect: RUNS_CODE, current: 18 },
  16: { least: 10, defect: RUNS_CODE, current: 14 },
  17: { least: 6, defect: RUNS_CODE, current: 10 },
  18: { least: 2, defect: 'loses the values of sequences without an error', current: 4 },
};
/** pg_restore of this version and newer sets transaction_timeout, which servers before it do not have. */
const TRANSACTION_TIMEOUT = 17;

export function parseVersion(text: string): Version {
  const found = /(\d+)(?:\.(\d+))?/.exec(text);
  if (found?.[1] === undefined) throw new Failure('TOOL_VERSION', `not a version: "${text.trim().slice(0, 80)}"`);
  return {
    major: Number(found[1]),
    minor: Number(found[2] ?? 0),
    text: found[2] === undefined ? found[1] : `${found[1]}.${found[2]}`,
  };
}

const installTools = ({ major }: Version): string =>
  `Install the client tools of PostgreSQL ${major} on the host (Debian: postgresql-client-${major}), or give their folder in connection.binDir.`;

/**
 * Refuses a client that must not be used against a server, or whose dumps could not be restored to it (A10, peer-F1); returns warnings.
 * Throws TOOL_VERSION.
 */
export function checkVersions(client: Version, server: Version): Finding[] {
  const refuse = (why: string): never => {
    throw new Failure('TOOL_VERSION', `pg_dump ${client.text} ${why}`, { remedy: installTools(server) });
  };
  if (client.major < server.major) refuse(`is older than the server (${server.text})`);
  if (client.major < 13) refuse('is out of support');
  if (client.major >= TRANSACTION_TIMEOUT && server.major < TRANSACTION_TIMEOUT)
    refuse(`makes dumps that cannot be restored to this server (${server.text}): it does not know transaction_timeout`);
  const gate = GATE[client.major];
  if (gate !== undefined && client.minor < gate.least)
    refuse(`${gate.defect}; ${client.major}.${gate.least} is the least`);
  const versions = { client: client.text, server: server.text };
  const warnings: Finding[] = [];
  if (client.major > server.major) warnings.push(makeFinding('CLIENT_TOOLS_OTHER_MAJOR', null, versions));
  if (client.major === server.major && client.minor < server.minor)
    warnings.push(makeFinding('CLIENT_TOOLS_OLDER', null, versions));
  if (gate !== undefined && client.minor < gate.current) {
    const current = `${client.major}.${gate.current}`;
    warnings.push(makeFinding('CLIENT_TOOLS_OUTDATED', null, { version: client.text, current }));
  }
  return warnings;
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

async function versionOf(path: string, program: 'pg_dump' | 'postgres', signal: AbortSignal): Promise<Version> {
  const { stdout } = await captureTool(
    { file: join(path, program), args: ['--version'], signal, timeoutMs: 20_000 },
    64 * 1024,
  );
  return parseVersion(stdout.replace(/^[^)]*\)/, ''));
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
    const folder = { path, version: await versionOf(path, 'pg_dump', signal) };
    if (serverMajor === undefined || folder.version.major === serverMajor) return folder;
    found.push(folder);
  }
  const [newest] = found.sort((a, b) => b.version.major - a.version.major);
  if (newest === undefined) throw new Failure('TOOL_NOT_FOUND', 'pg_dump was not found on this host');
  return newest;
}

/**
 * Where the programs of a server of this major version are, with its `initdb`: only such a server shows whether a backup restores to
 * where it came from (peer-F1). Null when this host has none. `binDir` comes first.
 */
export async function findServerPrograms(
  binDir: string | undefined,
  major: number,
  signal: AbortSignal,
): Promise<ToolFolder | null> {
  for (const path of new Set([...(binDir === undefined ? [] : [binDir]), ...candidates()])) {
    if (!['initdb', 'postgres'].every((program) => existsSync(join(path, program)))) continue;
    const version = await versionOf(path, 'postgres', signal);
    if (version.major === major) return { path, version };
  }
  return null;
}
