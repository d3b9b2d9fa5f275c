import { describeObjectStore } from '../src/conformance/index.ts';
import { FaultyStore, MemoryStore } from '../src/index.ts';

for (const conditionalPut of [true, false]) {
  const capabilities = { atomicPut: true, conditionalPut, objectLock: false, localReadBack: false };
  const name = `memory, ${conditionalPut ? 'with' : 'without'} conditional put`;
  describeObjectStore(
    name,
    async () => {
      const store = new MemoryStore({ capabilities });
      return {
        store,
        reopen: async () => new MemoryStore({ capabilities, sharing: store }),
        [Symbol.asyncDispose]: async () => undefined,
      };
    },
    capabilities,
  );
}

const capabilities = { atomicPut: true, conditionalPut: true, objectLock: false, localReadBack: false };
describeObjectStore(
  'memory behind a fault injector without faults',
  async () => {
    const store = new MemoryStore({ capabilities });
    return {
      store: new FaultyStore(store),
      reopen: async () => new FaultyStore(store),
      [Symbol.asyncDispose]: async () => undefined,
    };
  },
  capabilities,
);
