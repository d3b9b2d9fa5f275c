import { Failure } from '@lastgood/core';
import type { ServerFacts } from './server-facts.ts';
import { SYSTEM_DATABASE } from './store-folders.ts';

/** Identifies a server: the id of its database `system`, which its backups keep. Throws DATABASE_ERROR when it is not online. */
export function systemIdOf({ databases }: Pick<ServerFacts, 'databases'>): string {
  const id = databases.find(({ name }) => name === SYSTEM_DATABASE)?.storeId ?? null;
  if (id === null) throw new Failure('DATABASE_ERROR', `database "${SYSTEM_DATABASE}" is not online`);
  return id;
}
