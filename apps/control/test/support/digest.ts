import { createHash } from 'node:crypto';
import Database from 'better-sqlite3';

/** A digest of every row of every table of a catalog, as another process would read it. */
export function digestOf(file: string): Record<string, string> {
  const sqlite = new Database(file, { readonly: true });
  try {
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
  } finally {
    sqlite.close();
  }
}
