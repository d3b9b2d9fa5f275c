/** Raised with every change of the messages; the control plane supports its own version and the two before (docs/protocol.md). */
export const PROTOCOL_VERSION = 1;
export const LIMITS = {
  /** How often a page that watches is sent a sign of life. */
  watchAliveMs: 2_000,
  frameBytes: 256 * 1024,
  reportBytes: 128 * 1024,
  /** The spec of a job. */
  specBytes: 32 * 1024,
  /** The schedules of one host, together; they travel in one frame. */
  scheduleSetBytes: 128 * 1024,
  schedules: 1024,
  eventBytes: 8 * 1024,
  /** One event with the result of a backup or a rotation, whose lists of databases and decisions are their purpose. */
  largeEventBytes: 96 * 1024,
  /** Attempts in the journal of an agent, and their bytes together with the unreported events. */
  journalJobs: 20_000,
  journalBytes: 64 * 1024 * 1024,
  /** Ids of created jobs and handled instants per schedule that an agent keeps. */
  mintedIds: 200_000,
  handledInstants: 1_000,
  commandWindow: 32,
  inFlightCalls: 32,
  helloMs: 10_000,
  /** Targets of one host. */
  targets: 256,
  /** Checks of one host, and hooks. */
  hostNames: 256,
  /** Databases of one target that an agent reports. */
  inventoryDatabases: 200,
  maxBufferedBytes: 1024 * 1024,
} as const;
export const CLOSE = {
  badFrame: 4400,
  authExpired: 4401,
  quarantined: 4403,
  slowConsumer: 4408,
  superseded: 4409,
  diverged: 4412,
  protocol: 4426,
  drain: 4503,
} as const;
