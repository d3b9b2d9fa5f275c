import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';

type Digest = Readonly<Record<string, string>>;
/** The digest of each catalog file, with its connection and the `data_version` it was made at: SQLite changes that with each commit. */
const digests = new Map<string, { sqlite: Database.Database; version: unknown; digest: Digest }>();

/** A digest of every row of every table of a catalog, as another process would read it. Reads the rows again after each commit only. */
export function digestOf(file: string): Digest {
  const known = digests.get(file);
  const sqlite = known?.sqlite ?? new Database(file, { readonly: true });
  const version = sqlite.pragma('data_version', { simple: true });
  if (known !== undefined && known.version === version) return known.digest;
  const digest = readDigest(sqlite);
  digests.set(file, { sqlite, version, digest });
  return digest;
}

function readDigest(sqlite: Database.Database): Digest {
  const tables = sqlite
    .prepare("select name from sqlite_master where type = 'table' and name not like 'sqlite_%' order by name")
    .pluck()
    .all() as string[];
  return Object.fromEntries(
    tables.map((table) => {
      const rows = sqlite.prepare(`select * from "${table}" order by rowid`).all();
      return [table, `${rows.length} ${createHash('sha256').update(JSON.stringify(rows)).digest('hex')}`];
    }),
  );
}
