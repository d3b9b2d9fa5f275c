// The agent of a test: starts a scratch server in a sandbox, on an empty store in the folder of its first argument, and then does nothing.
import { withSandbox } from '@lastgood/host';
import { testLimits } from '@lastgood/testkit';
import { makeScratchStore, startScratchServer } from '../../src/neo4j/index.ts';

const [scratchFolder = '', java = '', libFolder = '', classArchive = ''] = process.argv.slice(2);
const options = {
  runtime: { java, libFolder, classArchive, heapMb: 256, pageCacheMb: 64, threads: 1 },
  scratchFolder,
  signal: new AbortController().signal,
};
const request = { limits: testLimits, scratchUser: 'nobody', needsConsent: true, signal: options.signal };
await withSandbox(request, async (sandbox) => {
  const store = await makeScratchStore({ ...options, sandbox });
  await startScratchServer(store, 'neo4j', 150_000, { ...options, sandbox });
  console.log('started');
  await new Promise(() => setInterval(() => undefined, 1_000));
});
