import type { Clock } from '@lastgood/core';

/** Where a bucket is and how it is reached, as the agent file describes it. */
export interface S3Location {
  readonly bucket: string;
  /** What the names of all objects begin with, without slashes at its ends; none when empty. */
  readonly prefix: string;
  readonly region: string;
  /** The address of the server; that of AWS in the region when absent. */
  readonly endpoint?: string | undefined;
  /** `path`: https://server/bucket/object. `virtual-host`: https://bucket.server/object. */
  readonly addressing: 'path' | 'virtual-host';
  /** Certificates (PEM) of the authorities that the server is checked against, instead of those of the system. */
  readonly caFile?: string | undefined;
  /** Keys in the format of the AWS tools. The default chain of the AWS SDK (environment, instance role …) when absent. */
  readonly credentialsFile?: string | undefined;
  /** False for a server that ignores `If-None-Match`. */
  readonly conditionalPut: boolean;
  /** How published backups are locked, in a bucket with object lock: against everybody, or against all without a special permission. */
  readonly lock?: 'compliance' | 'governance' | undefined;
  /** The size of the first parts of an upload in MiB, 5 to 512. */
  readonly partMiB: number;
}

/** The steps of an upload, in order. */
export type UploadStep = 'upload-created' | 'part-stored' | 'parts-stored' | 'upload-completed' | 'object-stored';

/** What surrounds a store: time, chance, and the limits of waiting. */
export interface S3Environment {
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly random: () => number;
  /** A request that fails is repeated for so long. Reads start anew with each byte that they receive. */
  readonly retryForMs: number;
  /** A connection on which nothing moves for so long has failed. */
  readonly idleMs: number;
  /** Called after each step of an upload, so that tests can end the process there. */
  readonly onStep: (step: UploadStep) => void;
}
