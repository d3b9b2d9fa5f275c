// The agent of a test: starts a scratch server on an empty store in the folder of its first argument, and then does nothing.
import { makeScratchStore, startScratchServer } from '../../src/neo4j/index.ts';

const [scratchFolder = '', java = '', libFolder = '', classArchive = '', uid = '', gid = ''] = process.argv.slice(2);
const options = {
  runtime: { java, libFolder, classArchive, heapMb: 256, pageCacheMb: 64, threads: 1 },
  scratchFolder,
  user: uid === '' ? undefined : { uid: Number(uid), gid: Number(gid) },
  signal: new AbortController().signal,
};
const store = await makeScratchStore(options);
await startScratchServer(store, 'neo4j', 150_000, options);
console.log('started');
setInterval(() => undefined, 1_000);
