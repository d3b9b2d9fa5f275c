import { createHash } from 'node:crypto';
import { Failure, type ObjectStore } from '@lastgood/core';
import { isTooDeep } from '@lastgood/protocol';
import type { z } from 'zod';

/** A manifest of 10,000 objects is smaller. */
const MAX_BYTES = 16 * 1024 * 1024;
/** A store that does not deliver a small object by then does not respond. It may repeat a request for minutes. */
const READ_MS = 10 * 60_000;

export const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** The text of a small object: a manifest, a verdict, a tombstone. Undefined when there is none. */
export async function readText(store: ObjectStore, name: string): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  const signal = AbortSignal.timeout(READ_MS);
  try {
    for await (const chunk of await store.get(name, { signal })) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > MAX_BYTES) throw new Failure('REPOSITORY_UNSAFE', `${store.locate(name)} is too large`);
    }
  } catch (error) {
    if (error instanceof Failure && error.code === 'NOT_FOUND') return undefined;
    if (signal.aborted)
      throw new Failure('IO_ERROR', `${store.locate(name)} could not be read in time`, { cause: error });
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** A JSON value that is not nested deeper than any that is written here. Throws for anything else. */
export function parseJson(text: string): unknown {
  const value: unknown = JSON.parse(text);
  if (isTooDeep(value)) throw new Failure('REPOSITORY_UNSAFE', 'the JSON is nested too deep');
  return value;
}

/** The content of a small object; undefined when there is none. REPOSITORY_UNSAFE when it does not fit the schema. */
export async function readJson<T>(store: ObjectStore, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readText(store, name);
  if (text === undefined) return undefined;
  try {
    return schema.parse(parseJson(text));
  } catch (error) {
    throw new Failure('REPOSITORY_UNSAFE', `${store.locate(name)} does not hold what it should`, { cause: error });
  }
}

/** Every name below a prefix. */
export async function namesBelow(store: ObjectStore, prefix: string): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of store.list(prefix)) names.push(name);
  return names.sort();
}
