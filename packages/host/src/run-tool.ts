import { existsSync } from 'node:fs';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { ExecaError, execa } from 'execa';
import { ChunkBatcher } from './chunk-batcher.ts';

export interface ToolCall {
  readonly file: string;
  readonly args: readonly string[];
  /** Secrets go here or into files, never into `args`: arguments are visible to every user of the host. */
  /** Added to our own; what is undefined is taken away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: Readable;
  /** An open file of ours that the tool gets as its standard input, itself and not a copy of its bytes. */
  readonly stdinFd?: number;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Fails with TOOL_STALLED when neither output nor input moved for this long. */
  readonly stallMs?: number;
  /** Runs as this user; needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly cwd?: string;
  /** How it is asked to stop; SIGTERM unless told. */
  readonly stopSignal?: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
  /** The tool may end before it has read all of `stdin`. */
  readonly mayStopReading?: boolean;
  /** Exit statuses beside 0 that answer a question and are no failure. */
  readonly acceptedExitCodes?: readonly number[];
  /** What of a line of its diagnostics may be told, null for nothing; all when absent. A tool repeats what it works on, secrets included. */
  readonly redactStderr?: (line: string) => string | null;
  /**
   * The tool starts a server that outlives it. What it leaves running when it ends by itself is not killed. Standard output and standard
   * error go to /dev/null: a server that inherits a pipe keeps the call open and gets SIGPIPE when we exit. The locale is not changed.
   */
  readonly startsServer?: boolean;
}
export interface ToolOutcome {
  readonly stderrTail: string[];
  readonly durationMs: number;
  /** 0, or one of `answers`. */
  readonly exitCode: number;
}

const TAIL_CHARS = 64 * 1024;
const TAIL_LINES = 40;
const KILL_AFTER_MS = 5_000;
const SETPRIV = '/usr/bin/setpriv';

/** Keeps the end of a chatty stream without buffering the rest; of every line what may be told. */
class TextTail {
  readonly #tells: (line: string) => string | null;
  #lines: string[] = [];
  #last = '';
  constructor(tells: (line: string) => string | null = (line) => line) {
    this.#tells = tells;
  }
  push(text: string): void {
    const [first = '', ...others] = text.split('\n');
    // The start of a long line says what it is.
    this.#last = (this.#last + first).slice(0, TAIL_CHARS);
    for (const line of others) {
      this.#lines = [...this.#lines, ...this.#told()].slice(-TAIL_LINES);
      this.#last = line.slice(0, TAIL_CHARS);
    }
  }
  #told(): string[] {
    const told = this.#tells(this.#last);
    return told === null ? [] : [told];
  }
  lines(): string[] {
    const text = [...this.#lines, ...this.#told()].join('\n').trimEnd();
    return text === '' ? [] : text.split('\n').slice(-TAIL_LINES);
  }
}

/** On Linux the tool dies with us (even of SIGKILL) and may drop to another user; both by setpriv of util-linux. */
function commandOf(call: ToolCall): { file: string; args: string[] } {
  if (process.platform !== 'linux' || !existsSync(SETPRIV)) return { file: call.file, args: [...call.args] };
  const drop =
    call.user === undefined ? [] : [`--reuid=${call.user.uid}`, `--regid=${call.user.gid}`, '--clear-groups'];
  return { file: SETPRIV, args: [...drop, '--pdeathsig', 'KILL', '--', call.file, ...call.args] };
}

/**
 * Gives a source to a tool. The tool may end well before it has read everything (one that loads an archive may not read its end):
 * the rest of the source is read all the same unless it `readsPartly`, for at its end a source tells whether its bytes were right.
 */
async function feed(source: Readable, stdin: Writable, readsPartly: boolean, moved: () => void): Promise<void> {
  let wake = (): void => undefined;
  stdin.on('error', () => undefined).on('drain', () => wake());
  stdin.once('close', () => {
    wake();
    if (readsPartly) source.destroy();
  });
  try {
    for await (const chunk of source) {
      moved();
      if (stdin.destroyed || stdin.write(chunk)) continue;
      const awake = new Promise<void>((resolve) => {
        wake = resolve;
      });
      if (!stdin.destroyed) await awake;
    }
  } catch (error) {
    if (readsPartly && stdin.destroyed && !(error instanceof Failure)) return;
    throw error;
  } finally {
    stdin.end();
  }
}

/** Ends what a tool that is gone has left running: its children are of its process group, and some are deaf to SIGTERM. */
function killGroup(leader: number | undefined): void {
  if (leader === undefined || process.platform === 'win32') return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // Nothing is left of the group.
  }
}

/** The exit status of a tool that said no, when that is an answer; else what it failed of. */
function answerOf(error: unknown, call: ToolCall): number {
  const code = error instanceof ExecaError ? error.exitCode : undefined;
  if (code === undefined || call.acceptedExitCodes?.includes(code) !== true) throw error;
  return code;
}

/**
 * Runs one tool and streams its standard output through `stages`. Settles only when the tool has ended AND the last stage is
 * flushed, and rejects when either failed: a tool that exits with 1 after half a dump never looks like a finished backup.
 * Errors: TOOL_NOT_FOUND, TOOL_FAILED, TOOL_STALLED, JOB_CANCELED, JOB_DEADLINE, NO_SPACE, IO_ERROR or what a stage threw.
 */
export async function runTool(call: ToolCall, ...stages: readonly Writable[]): Promise<ToolOutcome> {
  const started = performance.now();
  const stalled = new AbortController();
  const { file, args } = commandOf(call);
  const tail = new TextTail(call.redactStderr);
  const output = call.startsServer === true ? 'ignore' : 'pipe';
  const tool = execa(file, args, {
    env: call.startsServer === true ? { ...call.env } : { ...call.env, LC_ALL: 'C' },
    // Any descriptor will do; the types know one.
    stdin: (call.stdinFd as 0 | undefined) ?? (call.stdin === undefined ? 'ignore' : 'pipe'),
    stdout: output,
    stderr: output,
    buffer: false,
    cancelSignal: AbortSignal.any([call.signal, stalled.signal]),
    timeout: call.timeoutMs,
    killDescendants: true,
    killSignal: call.stopSignal ?? 'SIGTERM',
    forceKillAfterDelay: KILL_AFTER_MS,
    ...(call.cwd === undefined ? {} : { cwd: call.cwd }),
  });
  // It may fail while its output is still on the way to a slow sink: nobody waits for it yet, and that must not end the process.
  tool.catch(() => undefined);
  let movedAt = performance.now();
  const moved = (): void => {
    movedAt = performance.now();
  };
  tool.stderr?.setEncoding('utf8').on('data', (text: string) => {
    moved();
    tail.push(text);
  });
  const stallMs = call.stallMs;
  const watch =
    stallMs === undefined
      ? undefined
      : setInterval(() => performance.now() - movedAt > stallMs && stalled.abort(), Math.min(stallMs, 1000));
  const feeding =
    call.stdin === undefined || tool.stdin === null || tool.stdin === undefined
      ? Promise.resolve()
      : feed(call.stdin, tool.stdin, call.mayStopReading === true, moved);
  feeding.catch(() => undefined);
  try {
    tool.stdout?.on('data', moved);
    // The pipeline first: when a stage fails, the tool dies of a broken pipe, and that second failure must not hide the first.
    // The sink may see its end before the tool's status is known: only the status that follows makes the output whole.
    if (stages.length > 0 && tool.stdout !== null) await pipeline([tool.stdout, new ChunkBatcher(), ...stages]);
    const exitCode = await tool.then(
      () => 0,
      (error: unknown) => answerOf(error, call),
    );
    await feeding;
    if (call.startsServer !== true) killGroup(tool.pid);
    return { stderrTail: tail.lines(), durationMs: performance.now() - started, exitCode };
  } catch (error) {
    tool.kill();
    await tool.catch(() => undefined);
    call.stdin?.destroy();
    killGroup(tool.pid); // Return only when no process of this call is left.
    const fed = await feeding.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    // A damaged input makes the tool fail as well: the input is the cause.
    if (fed instanceof Failure) throw fed;
    if (stalled.signal.aborted)
      throw new Failure('TOOL_STALLED', `${call.file} made no progress for ${(stallMs ?? 0) / 1000} s`);
    throw failureOf(error, call, tail.lines());
  } finally {
    clearInterval(watch);
  }
}

/** Runs one tool for its text. Output beyond `maxBytes` is a failure, not a truncation. */
export async function captureTool(
  call: ToolCall,
  maxBytes = 16 * 1024 * 1024,
): Promise<{ stdout: string; stderrTail: string[] }> {
  const { Writable } = await import('node:stream');
  const chunks: Buffer[] = [];
  let size = 0;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > maxBytes) return done(new Failure('TOOL_FAILED', `${call.file} printed more than ${maxBytes} bytes`));
      chunks.push(chunk);
      done();
    },
  });
  const { stderrTail } = await runTool(call, sink);
  return { stdout: Buffer.concat(chunks).toString('utf8'), stderrTail };
}

/** The last lines, and before them the last that names an error: a long statement may follow it. */
function tellingLines(stderrTail: readonly string[]): string {
  const end = Math.max(0, stderrTail.length - 3);
  const telling = stderrTail.slice(0, end).findLast((line) => /\b(error|fatal|panic)\b/i.test(line));
  return [...(telling === undefined ? [] : [telling]), ...stderrTail.slice(end)].join(' · ');
}

function failureOf(error: unknown, call: ToolCall, stderrTail: readonly string[]): Failure {
  if (error instanceof Failure) return error;
  if (call.signal.aborted)
    return call.signal.reason instanceof Failure
      ? call.signal.reason
      : new Failure('JOB_CANCELED', `${call.file} was canceled`);
  const last = tellingLines(stderrTail) || 'no message';
  if (error instanceof ExecaError) {
    if (error.timedOut) return new Failure('JOB_DEADLINE', `${call.file} ran longer than ${call.timeoutMs} ms`);
    if (error.code === 'ENOENT' && call.cwd !== undefined && !existsSync(call.cwd))
      return new Failure('TOOL_FAILED', `${call.file} was to run in ${call.cwd}, which does not exist`);
    // 127 is what setpriv says of a file that is not there; a tool that is there may end with it for reasons of its own.
    if (error.code === 'ENOENT' || (error.exitCode === 127 && !(call.file.includes('/') && existsSync(call.file))))
      return new Failure('TOOL_NOT_FOUND', `${call.file} is not installed`);
    if (/No space left on device/.test(last))
      return new Failure('NO_SPACE', `no space left while ${call.file} was writing`);
    return new Failure(
      'TOOL_FAILED',
      `${call.file} ended with ${error.exitCode ?? error.signal ?? error.code}: ${last}`,
    );
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Failure('NO_SPACE', `no space left while the output of ${call.file} was written`);
  return new Failure('IO_ERROR', `the output of ${call.file} could not be written (${code}); it said: ${last}`);
}
