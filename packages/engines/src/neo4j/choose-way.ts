import { Failure } from '@lastgood/core';
import type { AdminContext } from './admin-tool.ts';
import { SUPPORTED_WAYS, type SupportedWay } from './backup-method.ts';
import { assessWays, type WayCapability, type WayLimitation } from './backup-ways.ts';
import { probeWays } from './probe-ways.ts';
import type { ServerFacts } from './server-facts.ts';
import { requireService } from './service-steps.ts';
import type { Neo4jTarget } from './target.ts';

const LIMITATION_TEXT: Readonly<Record<WayLimitation, string>> = {
  'not-enterprise': 'the server is not Enterprise',
  'no-online-backup': 'the server lacks the online backup',
  'not-linux': 'the host does not run Linux',
  'no-server-process': 'the process of the server was not found',
  'may-not-signal': 'the agent may not signal the process of the server',
  'no-reflink': 'the file system of the store cannot share blocks with copyFolder',
  'no-service-control': 'the agent file names no service',
  'no-space': 'copyFolder lacks space',
  'pause-too-long': 'the pause is expected to exceed maxPauseSeconds',
};
const isSupported = (way: string): way is SupportedWay => SUPPORTED_WAYS.some((each) => each === way);

/**
 * Chooses the best possible way of a backup, or checks the one that is wanted. Throws HOST_LIMIT when only the limit of the pause is in the
 * way, CONFIG_INVALID without a service, and TOOL_FAILED when no way is possible for another reason.
 */
export async function chooseWay(
  target: Neo4jTarget,
  server: ServerFacts,
  wanted: SupportedWay | undefined,
  admin: AdminContext,
): Promise<SupportedWay> {
  const { maxPauseSeconds } = target.connection;
  const inputs = { server, canControlService: target.service !== null, maxPauseSeconds };
  const ways = assessWays(await probeWays(target.paths, inputs, admin)).flatMap((capability) =>
    isSupported(capability.way) && (wanted === undefined || capability.way === wanted)
      ? [{ ...capability, way: capability.way }]
      : [],
  );
  const best = ways.find(({ possible }) => possible);
  if (best !== undefined) return best.way;
  const tooLong = ways.filter(({ limitations }) => limitations.every((each) => each === 'pause-too-long'));
  if (tooLong.length > 0) throw pauseTooLong(tooLong, maxPauseSeconds);
  if (ways.every(({ limitations }) => limitations.includes('no-service-control') || limitations.includes('no-reflink')))
    requireService(target);
  throw new Failure('TOOL_FAILED', `no way of a backup is possible: ${describe(ways)}`, {
    remedy: 'Remove what prevents one of the ways, as the operations guide explains.',
  });
}

function pauseTooLong(ways: readonly WayCapability[], limit: number): Failure {
  const shortest = Math.ceil(Math.min(...ways.map(({ expectedPauseSeconds }) => expectedPauseSeconds)));
  return new Failure(
    'HOST_LIMIT',
    `the backup is expected to stop the server for ${shortest} s, more than ${limit} s`,
    {
      remedy: 'Raise maxPauseSeconds of the target, or put the store on a file system that shares blocks (XFS, Btrfs).',
    },
  );
}
const describe = (ways: readonly WayCapability[]): string =>
  ways
    .map(({ way, limitations }) => `${way} (${limitations.map((each) => LIMITATION_TEXT[each]).join(', ')})`)
    .join('; ');
