import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { ExecaError, execa } from 'execa';
import { ChunkBatcher } from './chunk-batcher.ts';

/** TOOL_FAILED of a tool that ended by itself: decide by how it ended, never by what it printed. */
export class ToolFailure extends Failure {
  /** Null for a tool that a signal ended. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  constructor(message: string, { exitCode, signal }: Pick<ToolFailure, 'exitCode' | 'signal'>, remedy?: string) {
    super('TOOL_FAILED', message, remedy === undefined ? {} : { remedy });
    this.exitCode = exitCode;
    this.signal = signal;
  }
}

export interface ToolCall {
  readonly file: string;
  readonly args: readonly string[];
  /**
   * Added to the environment of this process; undefined removes a variable. Pass secrets here or in files, never in `args`: every user
   * of the host can read arguments.
   */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly stdin?: Readable;
  /** An open file descriptor that the tool inherits as its standard input. */
  readonly stdinFd?: number;
  readonly signal: AbortSignal;
  readonly timeoutMs: number;
  /** Fails with TOOL_STALLED after this time without input or output. */
  readonly stallMs?: number;
  /** Runs as this user; needs root. */
  readonly user?: { readonly uid: number; readonly gid: number };
  readonly cwd?: string;
  /**
   * Starts the tool in a sandbox (`Sandbox.contain`), which also gives it its user. It is not asked to stop, but killed. A status above 128
   * is a signal: the first process of the sandbox reports the end of the tool.
   */
  readonly launcher?: readonly string[];
  /** How it is asked to stop; SIGTERM by default. */
  readonly stopSignal?: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
  /** The tool may exit before it has read all of `stdin`; the rest is then not read. */
  readonly mayStopReading?: boolean;
  /** Exit statuses other than 0 that do not count as a failure. */
  readonly acceptedExitCodes?: readonly number[];
  /** Returns what may be shown of a line of its standard error, null for nothing; all of it when absent. */
  readonly redactStderr?: (line: string) => string | null;
  /**
   * The tool starts a server that outlives it. Processes that it leaves running after a normal exit are not killed. Its output goes to
   * /dev/null: a server that inherits a pipe keeps the call open and gets SIGPIPE when the agent exits. The locale is not changed.
   */
  readonly startsServer?: boolean;
}
export interface ToolOutcome {
  readonly stderrTail: string[];
  readonly durationMs: number;
  /** 0, or one of `acceptedExitCodes`. */
  readonly exitCode: number;
}

const TAIL_CHARS = 64 * 1024;
const TAIL_LINES = 40;
const KILL_AFTER_MS = 5_000;
const SETPRIV = '/usr/bin/setpriv';

/** Keeps the end of a stream of lines, redacted, without buffering the rest. */
class TextTail {
  readonly #redact: (line: string) => string | null;
  #lines: string[] = [];
  #last = '';
  constructor(redact: (line: string) => string | null = (line) => line) {
    this.#redact = redact;
  }
  push(text: string): void {
    const [first = '', ...others] = text.split('\n');
    // Of a long line, keep the start.
    this.#last = (this.#last + first).slice(0, TAIL_CHARS);
    for (const line of others) {
      this.#lines = [...this.#lines, ...this.#takeLast()].slice(-TAIL_LINES);
      this.#last = line.slice(0, TAIL_CHARS);
    }
  }
  /** Each line is redacted once, for a redaction may keep state. */
  #takeLast(): string[] {
    const shown = this.#redact(this.#last);
    this.#last = '';
    return shown === null ? [] : [shown];
  }
  /** Ends the stream: its last line need not end with a newline. */
  lines(): string[] {
    if (this.#last !== '') this.#lines = [...this.#lines, ...this.#takeLast()];
    const text = this.#lines.join('\n').trimEnd();
    return text === '' ? [] : text.split('\n').slice(-TAIL_LINES);
  }
}

/** On Linux, setpriv of util-linux kills the tool when this process dies (even by SIGKILL) and switches the user. */
function commandOf(call: ToolCall): { file: string; args: string[] } {
  if (process.platform !== 'linux' || !existsSync(SETPRIV)) return { file: call.file, args: [...call.args] };
  const { user, launcher = [] } = call;
  const drop =
    user === undefined || launcher.length > 0 ? [] : [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups'];
  return { file: SETPRIV, args: [...drop, '--pdeathsig', 'KILL', '--', ...launcher, call.file, ...call.args] };
}

/**
 * Writes a source to the standard input of a tool. A tool may succeed without reading all of it, such as the end of an archive.
 * The rest of the source is read anyway, because checksum errors appear at its end, unless `mayStopReading` is set.
 */
async function feed(source: Readable, stdin: Writable, mayStopReading: boolean, moved: () => void): Promise<void> {
  let wake = (): void => undefined;
  stdin.on('error', () => undefined).on('drain', () => wake());
  stdin.once('close', () => {
    wake();
    if (mayStopReading) source.destroy();
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
    if (mayStopReading && stdin.destroyed && !(error instanceof Failure)) return;
    throw error;
  } finally {
    stdin.end();
  }
}

/** Kills what is left of the process group of a tool: child processes may outlive it and ignore SIGTERM. */
function killGroup(leader: number | undefined): void {
  if (leader === undefined || process.platform === 'win32') return;
  try {
    process.kill(-leader, 'SIGKILL');
  } catch {
    // No process of the group is left.
  }
}

/** Returns the exit status when the call accepts it; otherwise throws the error. */
function acceptedExitCode(error: unknown, call: ToolCall): number {
  const code = error instanceof ExecaError ? error.exitCode : undefined;
  if (code === undefined || call.acceptedExitCodes?.includes(code) !== true) throw error;
  return code;
}

/**
 * Runs one tool and streams its standard output through `stages`. Settles when the tool has exited and the last stage is flushed;
 * rejects when either failed. A tool that exits with 1 after half a dump therefore never looks like a finished backup.
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
    // Any descriptor works; the types allow only 0.
    stdin: (call.stdinFd as 0 | undefined) ?? (call.stdin === undefined ? 'ignore' : 'pipe'),
    stdout: output,
    stderr: output,
    buffer: false,
    cancelSignal: AbortSignal.any([call.signal, stalled.signal]),
    timeout: call.timeoutMs,
    killDescendants: true,
    killSignal: call.launcher === undefined ? (call.stopSignal ?? 'SIGTERM') : 'SIGKILL',
    forceKillAfterDelay: KILL_AFTER_MS,
    ...(call.cwd === undefined ? {} : { cwd: call.cwd }),
  });
  // The tool may fail while a slow sink still writes its output. Without this handler, the rejection would end the process.
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
    // Await the pipeline first: when a stage fails, the tool then fails with a broken pipe, which must not hide the first failure.
    // The end of the output does not mean success: only the exit status makes the output complete.
    if (stages.length > 0 && tool.stdout !== null) await pipeline([tool.stdout, new ChunkBatcher(), ...stages]);
    const exitCode = await tool.then(
      () => 0,
      (error: unknown) => acceptedExitCode(error, call),
    );
    await feeding;
    if (call.startsServer !== true) killGroup(tool.pid);
    return { stderrTail: tail.lines(), durationMs: performance.now() - started, exitCode };
  } catch (error) {
    tool.kill();
    await tool.catch(() => undefined);
    call.stdin?.destroy();
    killGroup(tool.pid); // No process of this call may outlive it.
    const feedError = await feeding.then(
      () => undefined,
      (reason: unknown) => reason,
    );
    // A damaged input also makes the tool fail. Report the input as the cause.
    if (feedError instanceof Failure) throw feedError;
    if (stalled.signal.aborted)
      throw new Failure('TOOL_STALLED', `${call.file} made no progress for ${(stallMs ?? 0) / 1000} s`);
    throw failureOf(error, call, tail.lines());
  } finally {
    clearInterval(watch);
  }
}

/** Runs one tool and returns its standard output as text. Fails when it prints more than `maxBytes`. */
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

/** The last three lines, preceded by the last earlier line that names an error: a long statement may follow it. */
function selectLines(stderrTail: readonly string[]): string {
  const end = Math.max(0, stderrTail.length - 3);
  const errorLine = stderrTail.slice(0, end).findLast((line) => /\b(error|fatal|panic)\b/i.test(line));
  return [...(errorLine === undefined ? [] : [errorLine]), ...stderrTail.slice(end)].join(' · ');
}

/** The signal that ended a tool in a sandbox, by the status with which a shell reports it. */
function signalOfStatus(status: number | undefined, { launcher }: ToolCall): string | undefined {
  if (launcher === undefined || status === undefined) return undefined;
  return Object.entries(constants.signals).find(([, number]) => 128 + number === status)?.[0];
}

function failureOf(error: unknown, call: ToolCall, stderrTail: readonly string[]): Failure {
  if (error instanceof Failure) return error;
  if (call.signal.aborted)
    return call.signal.reason instanceof Failure
      ? call.signal.reason
      : new Failure('JOB_CANCELED', `${call.file} was canceled`);
  const printed = selectLines(stderrTail);
  if (error instanceof ExecaError) {
    if (error.timedOut) return new Failure('JOB_DEADLINE', `${call.file} ran longer than ${call.timeoutMs} ms`);
    if (error.code === 'ENOENT' && call.cwd !== undefined && !existsSync(call.cwd))
      return new Failure('TOOL_FAILED', `${call.file} was to run in ${call.cwd}, which does not exist`);
    // setpriv ends with 127 when the file does not exist; a tool that exists may end with it for its own reasons.
    if (error.code === 'ENOENT' || (error.exitCode === 127 && !(call.file.includes('/') && existsSync(call.file))))
      return new Failure('TOOL_NOT_FOUND', `${call.file} is not installed`);
    const signal = error.signal ?? signalOfStatus(error.exitCode, call);
    const exitCode = signal === undefined ? error.exitCode : undefined;
    const ending = exitCode === undefined ? (signal ?? error.code) : `exit status ${exitCode}`;
    return new ToolFailure(`${call.file} ended with ${ending}${printed === '' ? '' : `: ${printed}`}`, {
      exitCode: exitCode ?? null,
      signal: signal ?? null,
    });
  }
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new Failure('NO_SPACE', `no space left while the output of ${call.file} was written`);
  return new Failure('IO_ERROR', `the output of ${call.file} could not be written (${code})`);
}
