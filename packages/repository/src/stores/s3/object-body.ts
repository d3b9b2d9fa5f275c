import { Readable } from 'node:stream';
import type { Retry } from './retry.ts';

const CHUNK = 1024 * 1024;

/** Opens the bytes of an object from an offset to the end of the range; the request ends when `signal` aborts. */
export type OpenFrom = (offset: number, signal: AbortSignal) => Promise<Readable>;

export interface BodyRange {
  readonly start: number;
  readonly end: number;
}

class Truncated extends Error {
  readonly code = 'ECONNRESET';
}

async function* readRange(
  first: Readable,
  { start, end }: BodyRange,
  open: OpenFrom,
  retry: Retry,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  let at = start;
  for (let body: Readable | undefined = first; at < end; ) {
    try {
      body ??= await open(at, signal);
      for await (const chunk of body) {
        at += (chunk as Buffer).length;
        retry.progressed();
        yield chunk as Buffer;
      }
      if (at < end) throw new Truncated('the connection ended early');
    } catch (error) {
      await retry.pause(error);
      body = undefined;
    }
  }
}

/**
 * A stream of a range whose first response is there. A connection that fails is opened again where it ended, as long as the retry
 * allows. Destroying the stream ends the request at once; an aborted `signal` destroys it with the reason of the signal.
 */
export function streamBody(
  first: Readable,
  range: BodyRange,
  open: OpenFrom,
  makeRetry: (signal: AbortSignal) => Retry,
  signal: AbortSignal | undefined,
): Readable {
  const stop = new AbortController();
  const chunks = readRange(first, range, open, makeRetry(stop.signal), stop.signal);
  const stream = new Readable({
    highWaterMark: CHUNK,
    read() {
      chunks.next().then(
        ({ done, value }) => this.push(done === true ? null : value),
        (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
      );
    },
    destroy(error, done) {
      stop.abort(error ?? undefined);
      first.destroy();
      void chunks.return().catch(() => undefined);
      done(error);
    },
  });
  const abort = (): void => void stream.destroy(signal?.reason);
  signal?.addEventListener('abort', abort);
  stream.once('close', () => signal?.removeEventListener('abort', abort));
  if (signal?.aborted) abort();
  return stream;
}
