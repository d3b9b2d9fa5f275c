import { type Clock, candidatesOf, forecastRemovals, toWireError } from '@lastgood/core';
import { type AgentConfig, DEFAULT_MINIMUM_AGE_HOURS } from './config/agent-config.ts';
import { readAcceptedSequence } from './repositories/accepted-sizes.ts';
import { openExistingRepository, readRepositoryUser } from './repositories/repository-access.ts';

/**
 * What a hostile control plane could remove of a target's backups within the limits of the agent file, for a person to read; null where
 * there is no backup yet.
 */
export async function describeExposure(config: AgentConfig, name: string, clock: Clock): Promise<string | null> {
  const target = config.targets[name];
  const repository = config.repositories[target?.repository ?? ''];
  if (target === undefined || repository === undefined) return null;
  const { allow } = target;
  if (!allow.rotate) return 'the control plane can remove no backup (allow.rotate is false)';
  const warning =
    allow.minimumAgeHours < DEFAULT_MINIMUM_AGE_HOURS
      ? `\n  WARNING: backups can be removed after ${allow.minimumAgeHours} hours (allow.minimumAgeHours). Will you notice an attack by then?`
      : '';
  try {
    const user = await readRepositoryUser(config).catch(() => undefined);
    const opened = await openExistingRepository(repository, user);
    const { environment, host } = config;
    const { backups } = await opened.list({ environment, host, target: name });
    const accepted = await readAcceptedSequence(config.dataDir, name);
    const { withinDay, withinWeek, left } = forecastRemovals(candidatesOf(backups), allow, accepted, clock.now());
    return `of ${backups.length} backups, a hostile control plane could remove ${withinDay} within a day and ${withinWeek} within a week; ${left} would stay${warning}`;
  } catch (error) {
    return `the backups cannot be read (${toWireError(error).code})${warning}`;
  }
}
