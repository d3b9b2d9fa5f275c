import type { Failure } from '@lastgood/core';
import type { WaitingClock } from '../poll-until.ts';

/** Why a service that is stopped could not be started again; null when nothing is known to prevent it. */
export type StartBlock = 'not-found' | 'masked' | 'invalid' | null;

interface ReportContext {
  readonly startBlock: StartBlock;
  /** A start or stop that the service manager has accepted and not finished. */
  readonly pending: boolean;
  /** Machine-readable properties that the report was derived from, for logs and messages. */
  readonly properties: Readonly<Record<string, string>>;
}

/**
 * The state of a service as its manager reports it. `unknown` is everything that is neither surely up nor surely down: changing, waiting
 * for an automatic restart, not known to the manager, a unit without a process of its own, or no usable report.
 */
export type ServiceReport = ReportContext &
  (
    | { readonly state: 'up'; readonly cause: 'running' }
    | { readonly state: 'down'; readonly cause: 'stopped' | 'failed' }
    | {
        readonly state: 'unknown';
        readonly cause: 'starting' | 'stopping' | 'restarting' | 'not-found' | 'no-process' | 'no-report';
      }
  );

export interface CallLimits {
  /** The instant of the monotonic clock (ms) at which the whole operation has to be over. */
  readonly until: number;
  readonly signal: AbortSignal;
  readonly clock: WaitingClock;
}

/** What starts and stops one service. Nothing here waits for the server: ServiceControl does. */
export interface ServiceManager {
  /** Names the service in messages, such as `database.service`. */
  readonly label: string;
  /** How long (ms) a started service may still be reported as down, because the manager does not track the start. */
  readonly settleMs: number;
  /** What a person should read when the service fails. */
  readonly remedy: string;
  report(limits: CallLimits): Promise<ServiceReport>;
  /**
   * Requests a stop or a start. Returns the failure when the manager refused: the caller decides by the state of the service. Throws
   * SERVICE_TIMEOUT when the request itself did not end in time, DATA_FOLDER_UNSAFE, SERVICE_NOT_FOUND, TOOL_NOT_FOUND, or the reason of
   * the signal.
   */
  requestStop(limits: CallLimits): Promise<Failure | null>;
  requestStart(report: ServiceReport, limits: CallLimits): Promise<Failure | null>;
}

/** Time (ms) for one call of a tool: what is left of the operation, but at least a second and at most `longest`. */
export function callTimeout({ until, clock }: CallLimits, longest: number): number {
  return Math.round(Math.max(1_000, Math.min(longest, until - clock.monotonic())));
}

/** For tools whose exit status is a report: no status is a failure of the call. */
export const EVERY_EXIT_STATUS: readonly number[] = Array.from({ length: 255 }, (_, index) => index + 1);
