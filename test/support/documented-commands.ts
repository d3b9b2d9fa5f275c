import { captureTool } from '@lastgood/host';
import type { PostgresServer } from '@lastgood/testkit';

const never = new AbortController().signal;

/** The shell lines of a page between its marks: what a person would paste. */
export function linesOf(page: string, section: string): string {
  const lines = new RegExp(`<!-- ${section} -->\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1];
  if (lines === undefined) throw new TypeError(`the page has no section ${section}`);
  return lines;
}

/** Runs shell lines with the tools of a server, which they reach without more options. Returns what they print. */
export async function runShell(server: PostgresServer, script: string, env: Record<string, string>): Promise<string> {
  const path = `${server.binDir}:${process.env['PATH'] ?? ''}`;
  const to = { PGHOST: server.host, PGPORT: String(server.port), PGUSER: server.user, PGPASSFILE: server.passfile };
  const call = { file: 'bash', args: ['-c', `set -euo pipefail\n${script}`], signal: never, timeoutMs: 120_000 };
  return (await captureTool({ ...call, env: { ...env, ...to, PATH: path } })).stdout;
}

/** The database `shop` as text, without the random key of \\restrict. */
export async function dumpShop(server: PostgresServer): Promise<string[]> {
  const text = await runShell(server, 'pg_dump --dbname=shop', {});
  return text.replace(/^\\(un)?restrict .*$/gm, '').split('\n');
}
