import type { ErrorCode } from '../errors.ts';

/** An entry of the catalog of findings. */
export interface FindingDefinition {
  /** `error`: the target is degraded, the backup is bad, or the operation is refused. `warning`: look at it. `info`: good to know. */
  readonly severity: 'info' | 'warning' | 'error';
  /** A template of message-template.ts. Its values are typed by it. */
  readonly message: string;
  readonly remedy: string | null;
  /** The error that an operation fails with when this stands in its way. */
  readonly refusal?: ErrorCode;
}
