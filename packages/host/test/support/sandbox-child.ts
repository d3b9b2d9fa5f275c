/**
 * Runs commands in a sandbox and prints a line of JSON: what contains them, and the exit status of each. Arguments: whether the host consents
 * to no containment, a folder that the commands may write, the commands.
 */
import { DEFAULT_RESTORE_TESTS, Failure } from '@lastgood/core';
import { runTool, withSandbox } from '../../src/index.ts';

const [consent = '', folder = '', ...commands] = process.argv.slice(2);
const { signal } = new AbortController();
const limits = { ...DEFAULT_RESTORE_TESTS, allowUncontained: consent === 'consent' };
const EVERY_STATUS = Array.from({ length: 255 }, (_, index) => index + 1);
try {
  const result = await withSandbox({ limits, scratchUser: 'nobody', needsConsent: true, signal }, async (sandbox) => {
    const statuses: number[] = [];
    for (const command of commands) {
      const call = {
        file: 'sh',
        args: ['-c', command],
        signal,
        timeoutMs: 600_000,
        cwd: folder,
        acceptedExitCodes: EVERY_STATUS,
      };
      statuses.push((await runTool(sandbox.contain(call, { folders: [folder], readable: [] }))).exitCode);
    }
    return { containment: sandbox.containment, statuses };
  });
  console.log(JSON.stringify(result));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.log(JSON.stringify({ code: error.code, message: error.message }));
}
