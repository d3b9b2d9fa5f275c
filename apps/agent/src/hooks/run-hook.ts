import { type EngineContext, Failure } from '@lastgood/core';
import { cleanEnvironment, findProgramProblem, problemText, runTool } from '@lastgood/host';
import type { JobResult } from '@lastgood/protocol';

const MAX_HOOK_MS = 24 * 3_600_000;

/**
 * Runs a hook of the agent file. Its exit status decides; its output is not read, because it may hold secrets. Processes that it leaves
 * running, such as the application that it starts, go on.
 */
export async function runHook(
  name: string,
  [file = '', ...args]: readonly string[],
  { signal, clock }: EngineContext,
): Promise<Extract<JobResult, { command: 'hook' }>> {
  const started = clock.monotonic();
  const problem = await findProgramProblem(file);
  if (problem !== null)
    throw new Failure('TOOL_NOT_FOUND', `cannot run the hook "${name}": ${problem.path} ${problemText(problem)}`, {
      remedy: `Correct the hook in the agent file, or owner and mode of ${problem.path}.`,
    });
  await runTool({ file, args, signal, timeoutMs: MAX_HOOK_MS, env: cleanEnvironment(), cwd: '/', startsServer: true });
  return { command: 'hook', durationMs: Math.round(clock.monotonic() - started) };
}
