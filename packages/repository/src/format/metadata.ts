import { createHash } from 'node:crypto';
import { Failure, type ObjectStore } from '@lastgood/core';
import type { z } from 'zod';

const MAX_BYTES = 64 * 1024 * 1024;

export const sha256 = (data: string | Uint8Array): string => createHash('sha256').update(data).digest('hex');

/** The text of a small object: a manifest, a verdict, a tombstone. Undefined when there is none. */
export async function readText(store: ObjectStore, name: string): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of await store.get(name)) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > MAX_BYTES) throw new Failure('REPOSITORY_UNSAFE', `${store.locate(name)} is too large`);
    }
  } catch (error) {
    if (error instanceof Failure && error.code === 'NOT_FOUND') return undefined;
    throw error;
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** The content of a small object; undefined when there is none. REPOSITORY_UNSAFE when it does not fit the schema. */
export async function readJson<T>(store: ObjectStore, name: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readText(store, name);
  if (text === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(text));
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
