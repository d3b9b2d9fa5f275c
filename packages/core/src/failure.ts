import {
  ERROR_CATALOG,
  type ErrorCode,
  formatFinding,
  type Refusal,
  remedyOfFinding,
  type WireError,
} from '@lastgood/protocol';

/** An expected failure: a code of the error catalog, a message that names the cause, and a remedy. */
export class Failure extends Error {
  readonly code: ErrorCode;
  readonly remedy: string;
  constructor(code: ErrorCode, message: string, options: { cause?: unknown; remedy?: string } = {}) {
    super(message, { cause: options.cause });
    this.name = 'Failure';
    this.code = code;
    this.remedy = options.remedy ?? ERROR_CATALOG[code].remedy;
  }
  /** The failure without its cause and stack, safe to send to another process. */
  get wireError(): WireError {
    return { code: this.code, message: this.message.slice(0, 4096), remedy: this.remedy.slice(0, 1024) };
  }
}
/** A defect in Lastgood. It ends the job and is never reported as an expected failure. */
export class Bug extends Error {
  override readonly name = 'Bug';
}
export function unreachable(value: never): never {
  throw new Bug(`unreachable: ${JSON.stringify(value)}`);
}
/** Converts a thrown value to a wire error. Anything but a Failure becomes BUG, without its message: that may contain data. */
export function toWireError(error: unknown): WireError {
  if (error instanceof Failure) return error.wireError;
  return new Failure('BUG', `unexpected ${error instanceof Error ? error.name : typeof error}`).wireError;
}

/** What an operation fails with that has refusals: the error and the remedy of the first, with the messages of all. */
export function failureOfRefusals(refusals: readonly Refusal[]): Failure {
  const [first] = refusals;
  if (first === undefined) throw new Bug('nothing was refused');
  const remedy = remedyOfFinding(first);
  return new Failure(first.error, refusals.map(formatFinding).join('; '), remedy === null ? {} : { remedy });
}
