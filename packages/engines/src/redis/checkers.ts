import { dirname } from 'node:path';
import { runTool, type Sandbox, type ToolCall } from '@lastgood/host';
import { findProgram, type Version } from './programs.ts';
import type { Product } from './server-facts.ts';

/** Kinds of damage that a check tool does not notice, measured on Redis 7.0 and 8.2 and Valkey 9.1. */
export type CheckerWeakness =
  /** Bytes behind the end of an RDB file. */
  | 'TRAILING_BYTES_UNNOTICED'
  /** Any change within an RDB file that was written without a checksum. */
  | 'CHANGES_WITHOUT_CHECKSUM_UNNOTICED'
  /** A changed value among the commands of an append-only file, which have no checksum. */
  | 'CHANGED_COMMANDS_UNNOTICED';

export type CheckerOutcome =
  /** The tool found nothing. It does not notice the kinds of damage in `unnoticed`. */
  | { readonly state: 'passed'; readonly version: string; readonly unnoticed: readonly CheckerWeakness[] }
  | { readonly state: 'failed'; readonly version: string }
  /**
   * `NO_CHECKER`: there is none of the version that wrote the files, and one of another version judges them wrongly. `CHECKER_DEFECTIVE`:
   * valkey-check-aof of Valkey 9 takes its own base files for commands, and refuses every valid set.
   */
  | { readonly state: 'skipped'; readonly reason: 'NO_CHECKER' | 'CHECKER_DEFECTIVE' };

const UNNOTICED = {
  'check-rdb': ['TRAILING_BYTES_UNNOTICED', 'CHANGES_WITHOUT_CHECKSUM_UNNOTICED'],
  'check-aof': ['CHANGED_COMMANDS_UNNOTICED'],
} as const satisfies Record<string, readonly CheckerWeakness[]>;
const DAMAGED = 1;
const DEFECTIVE_SINCE = 9;
const DAY_MS = 86_400_000;

export interface CheckRequest {
  /** Who wrote the files. */
  readonly product: Product;
  readonly version: Version;
  readonly tool: keyof typeof UNNOTICED;
  /** An RDB file, or the manifest of an append-only set. */
  readonly path: string;
  readonly binDir: string | undefined;
  readonly stallMs: number;
  readonly signal: AbortSignal;
  /** Where the tool runs: the files may be hostile. Its user must be able to read them. */
  readonly sandbox: Sandbox;
}

/** Runs the check tool of the version that wrote the files. It only reads. Throws TOOL_FAILED when the tool itself breaks down. */
export async function runChecker(request: CheckRequest): Promise<CheckerOutcome> {
  const { product, version, tool, path, binDir, stallMs, signal, sandbox } = request;
  if (tool === 'check-aof' && product === 'valkey' && version.major >= DEFECTIVE_SINCE)
    return { state: 'skipped', reason: 'CHECKER_DEFECTIVE' };
  const program = await findProgram(product, tool, binDir, version, signal);
  if (program === undefined) return { state: 'skipped', reason: 'NO_CHECKER' };
  const call: ToolCall = {
    file: program.path,
    args: [path],
    signal,
    stallMs,
    timeoutMs: DAY_MS,
    acceptedExitCodes: [DAMAGED],
    // What it prints names keys.
    redactStderr: () => null,
  };
  const view = { folders: [dirname(path)], readable: [dirname(program.path)] };
  const { exitCode } = await runTool(sandbox.contain(call, view));
  if (exitCode === DAMAGED) return { state: 'failed', version: program.version.text };
  return { state: 'passed', version: program.version.text, unnoticed: UNNOTICED[tool] };
}
