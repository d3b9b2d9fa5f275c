import { readFile } from 'node:fs/promises';
import type { AdminRouter } from '@lastgood/protocol';
import { createTRPCClient, httpLink, type TRPCClient } from '@trpc/client';

export type AdminClient = TRPCClient<AdminRouter>;

/** Creates a client of the admin API with the token in `tokenFile`. */
export async function adminClient(url: string, tokenFile: string): Promise<AdminClient> {
  const token = (await readFile(tokenFile, 'utf8')).trim();
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url: `${url}/trpc`, headers: { authorization: `Bearer ${token}` } })],
  });
}
