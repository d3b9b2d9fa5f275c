import { type EngineContext, Failure } from '@lastgood/core';
import type { HostJobSpec, JobResult, WireError } from '@lastgood/protocol';
import { runCheck } from '../checks/run-check.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { runHook } from '../hooks/run-hook.ts';
import type { Target } from './targets.ts';

/** The checks of the agent file, and the hooks that the control plane may have run. */
export interface HostCommands {
  readonly checks: AgentConfig['checks'];
  readonly hooks: AgentConfig['hooks'];
}

export const NO_HOST_COMMANDS: HostCommands = { checks: {}, hooks: {} };

export const hostCommandsOf = ({ checks, hooks, allow }: AgentConfig): HostCommands => ({
  checks,
  hooks: Object.fromEntries(Object.entries(hooks).filter(([name]) => allow.hooks.includes(name))),
});

/** Why this host does not run a check or hook; null when it does. */
export function refusalOfHostJob(
  { checks, hooks }: HostCommands,
  { command, target: name }: HostJobSpec,
): WireError | null {
  if (command === 'check')
    return Object.hasOwn(checks, name)
      ? null
      : new Failure('NOT_FOUND', `the agent file of this host has no check "${name}"`).wireError;
  if (Object.hasOwn(hooks, name)) return null;
  const message = `the agent file of this host has no hook "${name}" that the control plane may run`;
  return new Failure('HOST_LIMIT', message, {
    remedy: 'Define the hook in the agent file, and name it in `allow.hooks` there.',
  }).wireError;
}

/** Runs a check or a hook. Throws as refusalOfHostJob says, for the file may have changed since. */
export async function executeHostJob(
  spec: HostJobSpec,
  commands: HostCommands,
  targets: ReadonlyMap<string, Target>,
  context: EngineContext,
): Promise<JobResult> {
  const { target: name } = spec;
  const refusal = refusalOfHostJob(commands, spec);
  if (refusal !== null) throw new Failure(refusal.code, refusal.message, { remedy: refusal.remedy });
  const check = commands.checks[name];
  if (spec.command === 'check' && check !== undefined) return await runCheck(check, targets, context);
  return await runHook(name, commands.hooks[name] ?? [], context);
}
