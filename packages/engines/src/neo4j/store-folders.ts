import { stat } from 'node:fs/promises';
import { join } from 'node:path';

/** Where a server keeps its databases: a folder per database in each of the two. */
export interface StoreFolders {
  /** `server.directories.data` */
  readonly data: string;
  /** `server.directories.transaction.logs.root` */
  readonly transactions: string;
}
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

export const SYSTEM_DATABASE = 'system';
/** Begins the name of every folder that a restore makes or sets aside. */
export const MANAGED_PREFIX = 'lastgood-';

/** The layout of a copy, and of a server whose folders are where Neo4j puts them by default. */
export const foldersBelow = (data: string): StoreFolders => ({ data, transactions: join(data, 'transactions') });
export const databasesOf = ({ data }: StoreFolders): string => join(data, 'databases');
export const storeOf = (store: StoreFolders, database: string): string => join(databasesOf(store), database);
export const logsOf = ({ transactions }: StoreFolders, database: string): string => join(transactions, database);

/** The user that owns the store, who is the one that runs the server. */
export async function ownerOf(store: StoreFolders): Promise<Owner> {
  const { uid, gid } = await stat(databasesOf(store));
  return { uid, gid };
}
