import { chmod, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findPostgres } from './postgres-server.ts';

export type LyingToolName = 'pg_dump' | 'pg_dumpall' | 'pg_restore' | 'psql';
/** How a tool misbehaves. `afterBytes` counts the real tool's standard output; `Infinity` means all of it. */
export type Lie =
  /** Exits with `status` (default 1) after this many bytes (A2). */
  | { readonly lie: 'fails'; readonly afterBytes: number; readonly status?: number; readonly stderr?: string }
  /** Exits with 0 after this many bytes (A3). */
  | { readonly lie: 'truncates'; readonly afterBytes: number }
  /** Is killed by a signal after this many bytes (A1, A17). */
  | { readonly lie: 'dies'; readonly afterBytes: number; readonly signal: 'KILL' | 'TERM' | 'SEGV' | 'INT' }
  /** Keeps its output open and never exits (A5). May ignore SIGTERM, like a process that hangs in the kernel. */
  | { readonly lie: 'hangs'; readonly afterBytes: number; readonly ignoresTerm?: boolean }
  /** Prints lines to standard error and then works normally; `lines: Infinity` never stops (A4). */
  | { readonly lie: 'chatters'; readonly line: string; readonly lines: number }
  /** Waits, then works normally. */
  | { readonly lie: 'dawdles'; readonly seconds: number }
  /** Prints this text for `--version` (A10). */
  | { readonly lie: 'version'; readonly text: string };

export interface LieOptions {
  /** The fault applies only to calls whose arguments contain this. `--version` works normally except with the fault `version`. */
  readonly when?: string;
  /** The folder of the real tools; by default the newest PostgreSQL of this machine. */
  readonly binDir?: string;
}

const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;
const part = (bytes: number): string => (bytes === Infinity ? 'cat' : `head -c ${Math.trunc(bytes)}`);

/** The part of the script that applies the fault. */
function scriptOf(lie: Lie): string {
  switch (lie.lie) {
    case 'fails': {
      const message = lie.stderr === undefined ? '' : `printf '%s\\n' ${quote(lie.stderr)} >&2\n`;
      return `"$real" "$@" | ${part(lie.afterBytes)}\n${message}exit ${lie.status ?? 1}`;
    }
    case 'truncates':
      return `"$real" "$@" 2>/dev/null | ${part(lie.afterBytes)}\nexit 0`;
    case 'dies':
      return `"$real" "$@" | ${part(lie.afterBytes)}\nkill -${lie.signal} $$`;
    case 'hangs': {
      const trap = lie.ignoresTerm === true ? "trap '' TERM\n" : '';
      return `${trap}"$real" "$@" | ${part(lie.afterBytes)}\nexec sleep infinity`;
    }
    case 'chatters':
      return lie.lines === Infinity
        ? `exec yes ${quote(lie.line)} >&2`
        : `yes ${quote(lie.line)} | head -n ${Math.trunc(lie.lines)} >&2\nexec "$real" "$@"`;
    case 'dawdles':
      return `sleep ${lie.seconds}\nexec "$real" "$@"`;
    case 'version':
      return `printf '%s\\n' ${quote(lie.text)}`;
  }
}

/** Fills a folder with links to the real tools, readable by every user: an engine can use it as `binDir`, and its servers run as another user. */
async function linkRealTools(folder: string, binDir: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const name of await readdir(binDir))
    await symlink(join(binDir, name), join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
}

/**
 * Writes an executable script into `folder` that replaces a PostgreSQL tool and misbehaves. The other tools there are links to the real
 * ones, and every user can read `folder`, so it can serve as `binDir`. A second call changes the fault. Returns the path of the script.
 */
export async function lyingTool(
  folder: string,
  name: LyingToolName,
  lie: Lie,
  options: LieOptions = {},
): Promise<string> {
  const binDir = options.binDir ?? findPostgres();
  await linkRealTools(folder, binDir);
  const file = join(folder, name);
  const isVersion = 'case " $* " in *" --version "*|*" -V "*) version=1;; *) version=0;; esac';
  const worksNormally = lie.lie === 'version' ? '[ $version = 0 ]' : '[ $version = 1 ]';
  const matches =
    options.when === undefined ? '' : `case " $* " in *${quote(options.when)}*) ;; *) exec "$real" "$@";; esac`;
  const lines = [
    '#!/bin/sh',
    `real=${quote(join(binDir, name))}`,
    isVersion,
    `if ${worksNormally}; then exec "$real" "$@"; fi`,
  ];
  await rm(file, { force: true });
  await writeFile(file, [...lines, matches, scriptOf(lie), ''].join('\n'), { mode: 0o755, flag: 'wx' });
  await chmod(file, 0o755);
  return file;
}
