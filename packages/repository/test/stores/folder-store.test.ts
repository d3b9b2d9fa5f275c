import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { describeObjectStore } from '@lastgood/testkit/conformance';
import { FolderStore } from '../../src/stores/folder/folder-store.ts';

const capabilities = { atomicPut: true, conditionalPut: true, objectLock: false, localReadBack: true };
describeObjectStore(
  'folder',
  async () => {
    const folder = await temporaryFolder();
    const open = (clockOwner: string): FolderStore => new FolderStore({ path: folder.path, clockOwner });
    let opened = 0;
    return {
      store: open('first'),
      reopen: async () => open(`later-${++opened}`),
      killDuringPut: async (name) => {
        const path = join(folder.path, name);
        await mkdir(dirname(path), { recursive: true, mode: 0o700 });
        for (const end of ['0a1b2c3d.partial', 'lock.partial'])
          await writeFile(`${path}.${end}`, 'partial', { mode: 0o600 });
      },
      [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
    };
  },
  capabilities,
);
