/** The repository format over every store: the folder, and memory with and without conditional puts. */
import { MemoryStore, temporaryFolder } from '@lastgood/testkit';
import { describeRepository } from '@lastgood/testkit/conformance';
import { createRepository, FolderStore } from '../src/index.ts';

describeRepository('folder', async () => {
  const folder = await temporaryFolder();
  return {
    store: new FolderStore({ path: folder.path, clockOwner: 'test' }),
    open: createRepository,
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
});

for (const conditionalPut of [true, false])
  describeRepository(`memory, ${conditionalPut ? 'with' : 'without'} conditional put`, async () => ({
    store: new MemoryStore({ capabilities: { conditionalPut } }),
    open: createRepository,
    [Symbol.asyncDispose]: async () => undefined,
  }));
