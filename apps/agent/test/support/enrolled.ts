import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes the data folder that of an enrolled host. */
export async function enrollAs(
  dataDir: string,
  { host = 'db-1', installId = randomUUID() as string }: { host?: string; installId?: string } = {},
): Promise<void> {
  const newKey = () => generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
  const keys = { privateKey: newKey(), signingKey: newKey() };
  const identity = { installId, agentId: randomUUID(), environment: 'test', host, ...keys };
  await writeFile(join(dataDir, 'identity.json'), JSON.stringify(identity), { mode: 0o600 });
}
