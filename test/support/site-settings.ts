import { readFile } from 'node:fs/promises';
import type { ClientConfig } from 'pg';
import { z } from 'zod';

const settingsSchema = z.object({
  applicationPort: z.number(),
  postgres: z.object({ host: z.string(), port: z.number(), user: z.string(), passfile: z.string() }),
  redis: z.object({ socket: z.string(), passwordFile: z.string() }),
});
export type SiteSettings = z.infer<typeof settingsSchema>;

/** What the programs of a recovery site find in their settings file. */
export const readSettings = async (file: string): Promise<SiteSettings> =>
  settingsSchema.parse(JSON.parse(await readFile(file, 'utf8')));

/** The login for the database of the application. */
export async function loginOf({ postgres }: SiteSettings): Promise<ClientConfig> {
  const { host, port, user, passfile } = postgres;
  const password = (await readFile(passfile, 'utf8')).trim().split(':')[4] ?? '';
  return { host, port, user, password, database: 'rulex_db' };
}
