import { Failure } from '@lastgood/core';
import { cleanEnvironment } from '../clean-environment.ts';
import { runTool, type ToolCall } from '../run-tool.ts';
import { findProgramProblem, type ProgramProblem, problemText } from '../trusted-program.ts';
import type { CommandService, ServiceAction } from './service-definition.ts';
import {
  type CallLimits,
  callTimeout,
  EVERY_EXIT_STATUS,
  type ServiceManager,
  type ServiceReport,
} from './service-manager.ts';

const STATUS_MS = 30_000;
/** A start command may return before the status command notices the server. */
const SETTLE_MS = 10_000;
/** Exit statuses of a status command, which follow the LSB. 1 is not used as evidence: every script that breaks ends with it. */
const RUNNING = 0;
const NOT_RUNNING = 3;

function failureOf(program: string, action: ServiceAction, { code, path }: ProgramProblem): Failure {
  const text = `cannot run the ${action} command ${program}: ${path} ${problemText({ code })}`;
  if (code === 'foreign-owner' || code === 'writable-by-others')
    return new Failure('DATA_FOLDER_UNSAFE', text, {
      remedy: `Give ${path} to root or to the user that runs the agent, and remove write permission for group and others.`,
    });
  return new Failure('SERVICE_NOT_FOUND', text);
}

/**
 * Starts and stops a server by commands of the agent file. Their exit status counts, never their output, which may hold secrets. The
 * programs are checked before each call.
 */
export function createCommandManager(service: CommandService): ServiceManager {
  const checkProgram = async (action: ServiceAction): Promise<void> => {
    const [file = ''] = service[action];
    const problem = await findProgramProblem(file);
    if (problem !== null) throw failureOf(file, action, problem);
  };
  const callOf = async (action: ServiceAction, limits: CallLimits, longest: number): Promise<ToolCall> => {
    await checkProgram(action);
    const [file = '', ...args] = service[action];
    const { signal } = limits;
    const timeoutMs = callTimeout(limits, longest);
    return {
      file,
      args,
      signal,
      timeoutMs,
      env: cleanEnvironment(),
      cwd: '/',
      acceptedExitCodes: EVERY_EXIT_STATUS,
      redactStderr: () => null,
    };
  };
  const request = async (action: 'start' | 'stop', limits: CallLimits): Promise<Failure | null> => {
    const call = await callOf(action, limits, Number.POSITIVE_INFINITY);
    const what = `the ${action} command ${call.file}`;
    const remedy = `Run the ${action} command of the agent file by hand and read what it reports.`;
    try {
      const { exitCode } = await runTool({ ...call, startsServer: action === 'start' });
      if (exitCode === 0) return null;
      return new Failure('SERVICE_FAILED', `${what} ended with exit status ${exitCode}`, { remedy });
    } catch (error) {
      if (!(error instanceof Failure) || limits.signal.aborted) throw error;
      if (error.code === 'JOB_DEADLINE')
        throw new Failure('SERVICE_TIMEOUT', `${what} did not end in time and was killed`, { cause: error, remedy });
      return new Failure('SERVICE_FAILED', `${what} did not end normally`, { cause: error, remedy });
    }
  };
  return {
    label: service.start[0] ?? '',
    settleMs: SETTLE_MS,
    remedy: `Read the log of the server that ${service.start[0]} starts, correct the cause, then try again.`,
    async report(limits): Promise<ServiceReport> {
      const call = await callOf('status', limits, STATUS_MS);
      const exitCode = await runTool(call).then(
        (outcome) => outcome.exitCode,
        (error: unknown) => {
          if (!(error instanceof Failure) || limits.signal.aborted) throw error;
          return undefined;
        },
      );
      const context = {
        startBlock: null,
        pending: false,
        properties: exitCode === undefined ? {} : { exitStatus: String(exitCode) },
      };
      if (exitCode === RUNNING) return { state: 'up', cause: 'running', ...context };
      if (exitCode === NOT_RUNNING) return { state: 'down', cause: 'stopped', ...context };
      return { state: 'unknown', cause: 'no-report', ...context };
    },
    async requestStop(limits) {
      // What could not be started again is not stopped.
      await checkProgram('start');
      return await request('stop', limits);
    },
    requestStart: (_report, limits) => request('start', limits),
  };
}
