import type { Edition } from './server-facts.ts';

/** How a backup is taken, best first. */
export const BACKUP_WAYS = ['online-backup', 'freeze-copy', 'stop-copy-start', 'stop-dump-start'] as const;
export type BackupWay = (typeof BACKUP_WAYS)[number];

/** What the host and the server allow, as `probeWays` found it. */
export interface WayFacts {
  readonly edition: Edition;
  /** The jars of the server contain the online backup of Enterprise. */
  readonly hasOnlineBackup: boolean;
  /** Whether the process was found that holds the store. */
  readonly serverProcess: 'found' | 'not-found';
  /** Whether the agent may stop and continue that process by signals. */
  readonly maySignal: boolean;
  readonly canReflink: boolean;
  readonly isLinux: boolean;
  /** Whether the agent can stop and start the server. */
  readonly canControlService: boolean;
  readonly files: number;
  readonly storeBytes: number;
  /** Free space of the copy folder. */
  readonly freeBytes: number;
  readonly maxPauseSeconds: number;
}

export type WayLimitation =
  | 'not-enterprise'
  | 'no-online-backup'
  | 'not-linux'
  | 'no-server-process'
  | 'may-not-signal'
  | 'no-reflink'
  | 'no-service-control'
  | 'no-space'
  | 'pause-too-long';

export interface WayCapability {
  readonly way: BackupWay;
  readonly possible: boolean;
  readonly limitations: readonly WayLimitation[];
  /** How long (s) the server is expected not to work; 0 for the online backup. */
  readonly expectedPauseSeconds: number;
}

/** Measured on 5.26 and two cores: a stop of a stock server, and a start until its databases are online. */
const STOP_SECONDS = 16;
const START_SECONDS = 18;
/** Shared blocks: per file, and once for the threads to stop. Reading and writing a copy. A dump, with its compression. */
const REFLINK_SECONDS = 0.002;
const FREEZE_SECONDS = 0.05;
const COPY_BYTES_PER_SECOND = 200 * 1024 * 1024;
const DUMP_BYTES_PER_SECOND = 25 * 1024 * 1024;
/** Recovering and dumping a copy needs some space beside it: transaction logs and indexes that are built anew. */
const SPACE_FACTOR = 1.2;
/** Blocks that the server changes while the copy shares them. */
const REFLINK_SPACE_FACTOR = 0.3;

/** How long (s) the server is expected not to work in one way: an estimate, that a measurement replaces. */
export function expectedPauseSeconds(way: BackupWay, { files, storeBytes, canReflink }: WayFacts): number {
  const reflink = files * REFLINK_SECONDS;
  switch (way) {
    case 'online-backup':
      return 0;
    case 'freeze-copy':
      return FREEZE_SECONDS + reflink;
    case 'stop-copy-start':
      return STOP_SECONDS + (canReflink ? reflink : storeBytes / COPY_BYTES_PER_SECOND) + START_SECONDS;
    case 'stop-dump-start':
      return STOP_SECONDS + storeBytes / DUMP_BYTES_PER_SECOND + START_SECONDS;
  }
}

function limitationsOf(way: BackupWay, facts: WayFacts): WayLimitation[] {
  const spaceNeeded = facts.storeBytes * (facts.canReflink ? REFLINK_SPACE_FACTOR : SPACE_FACTOR);
  const checks: Readonly<Record<BackupWay, readonly (readonly [WayLimitation, boolean])[]>> = {
    'online-backup': [
      ['not-enterprise', facts.edition !== 'enterprise'],
      ['no-online-backup', !facts.hasOnlineBackup],
    ],
    'freeze-copy': [
      ['not-linux', !facts.isLinux],
      ['no-server-process', facts.serverProcess === 'not-found'],
      ['may-not-signal', facts.serverProcess === 'found' && !facts.maySignal],
      ['no-reflink', !facts.canReflink],
      ['no-space', facts.canReflink && facts.freeBytes < spaceNeeded],
    ],
    'stop-copy-start': [
      ['no-service-control', !facts.canControlService],
      ['no-space', facts.freeBytes < spaceNeeded],
    ],
    'stop-dump-start': [['no-service-control', !facts.canControlService]],
  };
  const tooLong = expectedPauseSeconds(way, facts) > facts.maxPauseSeconds;
  return [
    ...checks[way].filter(([, fails]) => fails).map(([code]) => code),
    ...(tooLong ? ['pause-too-long' as const] : []),
  ];
}

/** All ways in their order, with what prevents each. The first possible one is the best. */
export function assessWays(facts: WayFacts): WayCapability[] {
  return BACKUP_WAYS.map((way) => {
    const limitations = limitationsOf(way, facts);
    return {
      way,
      possible: limitations.length === 0,
      limitations,
      expectedPauseSeconds: expectedPauseSeconds(way, facts),
    };
  });
}
