import { MANAGED_PREFIX } from './store-folders.ts';

/** Names of databases: 3 to 63 letters, digits, dots and hyphens. */
const MOST_CHARS = 63;
const ID_CHARS = 12;
const STRAY_KINDS = ['stray1', 'stray2', 'stray3', 'stray4'] as const;

/** The folders of one database that one restore or undo works with; each in both roots of the store. */
export interface RestoreNames {
  readonly database: string;
  /** Where the archive is loaded. A valid name of a database, which neo4j-admin demands. */
  readonly staging: string;
  /** Where the swap sets the old database aside. */
  readonly aside: string;
  /** Where an undo puts what the restore had brought. */
  readonly undone: string;
  /**
   * Where a store goes that a server made under the name of the database because it was started in the middle of a swap, such as by a
   * reboot. The first name that is free.
   */
  readonly strays: readonly string[];
}

/** The names of a restore: the same for every attempt of a job, so that each step can be repeated. */
export function restoreNamesOf(database: string, jobId: string): RestoreNames {
  const id = jobId.replaceAll('-', '').slice(-ID_CHARS);
  const nameOf = (kind: ManagedKind): string => `${MANAGED_PREFIX}${kind}-${id}-${database}`.slice(0, MOST_CHARS);
  return {
    database,
    staging: nameOf('new'),
    aside: nameOf('old'),
    undone: nameOf('undone'),
    strays: STRAY_KINDS.map(nameOf),
  };
}

const KINDS = ['new', 'old', 'undone', ...STRAY_KINDS] as const;
export type ManagedKind = (typeof KINDS)[number];
export interface ManagedName {
  readonly kind: ManagedKind;
  /** The last 12 digits of the id of the job. */
  readonly jobSuffix: string;
  /** The name of the database, which is cut when it is long. */
  readonly database: string;
}

/** What a name of ours means; null for every other name. */
export function parseManagedName(name: string): ManagedName | null {
  const [, word, jobSuffix, database] = /^lastgood-([a-z0-9]+)-([0-9a-f]{12})-(.+)$/.exec(name) ?? [];
  const kind = KINDS.find((each) => each === word);
  return kind === undefined || jobSuffix === undefined || database === undefined ? null : { kind, jobSuffix, database };
}
