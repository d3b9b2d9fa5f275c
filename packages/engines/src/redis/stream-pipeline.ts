import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { cancellationOf } from '@lastgood/host';

/** Streams through all stages. Throws what a stage threw, or the reason of the signal as a Failure. */
export async function streamThrough(
  stages: readonly [Readable, ...Writable[]],
  signal: AbortSignal,
  what: string,
): Promise<void> {
  try {
    await pipeline(stages, { signal });
  } catch (error) {
    if (signal.aborted) throw cancellationOf(signal, what);
    throw error;
  }
}
