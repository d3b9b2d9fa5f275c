import { Failure } from '@lastgood/core';
import { isHostJob, type JobSpec, type WireError } from '@lastgood/protocol';
import { type HostCommands, refusalOfHostJob } from './host-jobs.ts';
import type { Target } from './targets.ts';

/**
 * Why this host refuses a job whatever the control plane asks for: an unknown target, check or hook, or a limit of the agent file. Null when
 * it does not.
 */
export function refusalOf(
  targets: ReadonlyMap<string, Target>,
  commands: HostCommands,
  spec: JobSpec,
): WireError | null {
  if (isHostJob(spec)) return refusalOfHostJob(commands, spec);
  const target = targets.get(spec.target);
  if (target === undefined) return new Failure('NOT_FOUND', `this host has no target "${spec.target}"`).wireError;
  const { allow } = target.config;
  const refuse = (what: string): WireError =>
    new Failure('HOST_LIMIT', `this host's agent file does not allow to ${what} "${target.name}"`).wireError;
  if (spec.command === 'restore' && !allow.restore.includes(spec.request.into.way))
    return refuse(`restore (${spec.request.into.way})`);
  if (spec.command === 'undo' && !allow.restore.includes('swap')) return refuse('undo a restore of');
  if (spec.command === 'drop-set-aside' && !allow.dropSetAside) return refuse('drop what was set aside on');
  if (spec.command === 'rotate' && !spec.dryRun && !allow.rotate) return refuse('rotate');
  return null;
}
