import { Failure } from '@lastgood/core';
import { storeFailure } from '@lastgood/host';
import type { z } from 'zod';
import { lookAt, openStored } from './safe-path.ts';

const MAX_BYTES = 64 * 1024 * 1024;

/** The text of a stored file that is not an object: a manifest, a verdict, a tombstone. */
export async function readSmall(path: string): Promise<string> {
  const file = await openStored(path);
  try {
    if ((await file.stat()).size > MAX_BYTES) throw new Failure('REPOSITORY_UNSAFE', `${path} is too large`);
    return await file.readFile('utf8');
  } catch (error) {
    throw storeFailure(error, path);
  } finally {
    await file.close();
  }
}

/** What a stored file says; undefined when there is none. */
export async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  if ((await lookAt(path)) === undefined) return undefined;
  const text = await readSmall(path);
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new Failure('REPOSITORY_UNSAFE', `${path} does not hold what it should`, { cause: error });
  }
}
