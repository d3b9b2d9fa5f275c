import { Transform, type TransformCallback } from 'node:stream';
import { judgeRdb, type RdbReport } from './rdb-report.ts';
import { RdbWalker } from './rdb-walker.ts';
import { type RespReport, RespWalker } from './resp-walker.ts';

const MAGIC_BYTES = 5;

export interface AofFileReport {
  /** The RDB file at its start, which a base file mostly consists of. */
  readonly rdb: RdbReport | null;
  /** The commands; none in most base files. */
  readonly commands: RespReport;
}

export interface AofFinding {
  readonly code: 'AOF_COMMANDS_DAMAGED' | 'AOF_COMMANDS_TRUNCATED' | 'AOF_BASE_DAMAGED' | 'AOF_NOT_SELF_CHECKING';
  readonly severity: 'error' | 'warning';
  readonly params: Readonly<Record<string, number | string>>;
}

/** Follows one file of an append-only set while its bytes pass: an RDB file, commands, or the one behind the other. */
export class AofFileWalker {
  readonly #commands = new RespWalker();
  #rdb: RdbWalker | null = null;
  /** The first bytes, until there are enough to recognize the format. */
  #start: Buffer | null = Buffer.alloc(0);

  push(chunk: Buffer): void {
    if (this.#start === null) return this.#pass(chunk);
    this.#start = Buffer.concat([this.#start, chunk]);
    if (this.#start.length >= MAGIC_BYTES) this.#decide(this.#start);
  }
  #decide(start: Buffer): void {
    this.#start = null;
    if (/^(?:REDIS|VALKE)/.test(start.toString('latin1', 0, MAGIC_BYTES)))
      this.#rdb = new RdbWalker((bytes) => this.#commands.push(bytes));
    this.#pass(start);
  }
  #pass(chunk: Buffer): void {
    if (this.#rdb === null) this.#commands.push(chunk);
    else this.#rdb.push(chunk);
  }
  /** Call it once, when there are no more bytes. */
  report(): AofFileReport {
    if (this.#start !== null) this.#decide(this.#start);
    const rdb = this.#rdb?.report() ?? null;
    // What follows the RDB file was walked as commands.
    return { rdb: rdb === null ? null : { ...rdb, trailingBytes: 0 }, commands: this.#commands.report() };
  }
}

/** Passes a file of an append-only set on and walks it. `report()` is valid when the stream has ended. */
export class AofTap extends Transform {
  readonly #walker = new AofFileWalker();
  constructor() {
    super({ highWaterMark: 1024 * 1024 });
  }
  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    this.#walker.push(chunk);
    done(null, chunk);
  }
  report(): AofFileReport {
    return this.#walker.report();
  }
}

/** Judges one walked file of a stored set, which ends with a complete command. */
export function judgeAofFile({ rdb, commands }: AofFileReport): AofFinding[] {
  const findings: AofFinding[] = [];
  if (rdb !== null)
    for (const { code, severity } of judgeRdb(rdb))
      findings.push({ code: 'AOF_BASE_DAMAGED', severity, params: { reason: code } });
  if (commands.state === 'damaged')
    findings.push({ code: 'AOF_COMMANDS_DAMAGED', severity: 'error', params: { offset: commands.completeBytes } });
  if (commands.state === 'truncated')
    findings.push({ code: 'AOF_COMMANDS_TRUNCATED', severity: 'error', params: { offset: commands.completeBytes } });
  // A changed value among commands is not noticed by anybody but our own checksum.
  if (commands.bytes > 0) findings.push({ code: 'AOF_NOT_SELF_CHECKING', severity: 'warning', params: {} });
  return findings;
}
