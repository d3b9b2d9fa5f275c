import { candidatesOf, Failure, sizeChangesIn } from '@lastgood/core';
import type { AgentConfig } from './config/agent-config.ts';
import { acceptSizes, readAcceptedSequence } from './repositories/accepted-sizes.ts';
import { openExistingRepository, readRepositoryUser } from './repositories/repository-access.ts';

/**
 * `lastgood agent accept`: accepts the changes of size of a target's backups and returns what a person reads about them. Only on the host
 * itself: a control plane could order the backups that it wants accepted. `now` is in ms since the epoch.
 */
export async function acceptSizeChanges(config: AgentConfig, name: string, now: number): Promise<string> {
  const target = config.targets[name];
  const options = target === undefined ? undefined : config.repositories[target.repository];
  if (options === undefined) throw new Failure('NOT_FOUND', `the agent file has no target "${name}"`);
  const repository = await openExistingRepository(options, await readRepositoryUser(config));
  const { backups } = await repository.list({ environment: config.environment, host: config.host, target: name });
  const candidates = candidatesOf(backups).filter(({ state }) => state !== 'unknown');
  const changes = sizeChangesIn(candidates, await readAcceptedSequence(config.dataDir, name));
  if (changes.length === 0) return `the sizes of the backups of "${name}" have not changed; nothing to accept\n`;
  await acceptSizes(config.dataDir, name, Math.max(...candidates.map(({ sequence }) => sequence)), now);
  const lines = changes.map(
    ({ backupId, content, producedBytes }) =>
      `backup ${backupId}: ${content ?? 'all data'} has ${producedBytes} bytes\n`,
  );
  return `${lines.join('')}the sizes of the backups of "${name}" are accepted; rotations go by their rules again\n`;
}
