import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { expect, test, vi } from 'vitest';
import { postgresConnectionSchema } from '../src/postgres/connection-schema.ts';
import { makeScratchFolder } from '../src/postgres/scratch-server.ts';

const connection = postgresConnectionSchema.parse({ host: '127.0.0.1', user: 'nobody' });

test.each([60, 80, 200])(
  'a TMPDIR that is %i characters too long for a socket does not stop a restore test',
  async (more) => {
    await using folder = await temporaryFolder();
    vi.stubEnv('TMPDIR', join(folder.path, 'x'.repeat(more)));
    try {
      await using scratch = await makeScratchFolder(connection, 0, { user: null });
      expect(scratch.path).toMatch(/^\/tmp\/lastgood-scratch-/);
    } finally {
      vi.unstubAllEnvs();
    }
  },
);

test('a scratch folder of the agent file that is too long for a socket is refused', async () => {
  await using folder = await temporaryFolder();
  const scratchFolder = join(folder.path, 'y'.repeat(80));
  await mkdir(scratchFolder);
  await expect(makeScratchFolder({ ...connection, scratchFolder }, 0, { user: null })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  });
});
