// The agent of a test: freezes the process of its first argument for at most as many ms as its second one says, and then does nothing.
import { freezeWhile } from '../../src/neo4j/index.ts';
import { identifyProcess } from '../../src/neo4j/process-identity.ts';

const [pid, maxPauseMs] = process.argv.slice(2).map(Number);
const server = await identifyProcess(pid ?? 0);
if (server === null) throw new TypeError('no such process');
await freezeWhile(
  server,
  {
    maxPauseMs: maxPauseMs ?? 0,
    signal: new AbortController().signal,
    onArmed: async (state) => console.log(JSON.stringify(state)),
  },
  async () => {
    console.log('frozen');
    await new Promise(() => setInterval(() => undefined, 1_000));
  },
).catch((error: { code?: string }) => {
  console.log(String(error.code));
  process.exitCode = 3;
});
