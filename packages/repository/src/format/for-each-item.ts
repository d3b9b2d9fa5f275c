import { Failure } from '@lastgood/core';

/** Works on each item, also when it fails on one, so that one bad object stops no other; then throws the first failure. */
export async function forEachItem<T>(items: Iterable<T>, work: (item: T) => Promise<void>): Promise<void> {
  let first: Failure | undefined;
  for (const item of items)
    try {
      await work(item);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      first ??= error;
    }
  if (first !== undefined) throw first;
}
