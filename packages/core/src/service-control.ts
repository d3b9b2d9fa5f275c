/**
 * Asks a server whether it serves, in the way of its engine (such as a PING). Returns false only when nothing serves, such as after a
 * refused connection. Throws a Failure when it cannot tell, such as after a refused password: that counts neither as up nor as down.
 */
export type ReadinessProbe = (signal: AbortSignal) => Promise<boolean>;

export interface ServiceCall {
  /** How long (ms) the operation may take, from the call on. A tool or probe that is running then gets at least a second. */
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
  readonly isReady: ReadinessProbe;
}
export interface StartOutcome {
  /** False when the service was up already. */
  readonly changed: boolean;
}
export interface StopOutcome {
  /** False when the service was down already. */
  readonly changed: boolean;
  /**
   * How the server ended. `unclean` means that systemd reports a failure, such as a kill after TimeoutStopSec: the data needs recovery.
   * `unreported` means that nothing reported it.
   */
  readonly ended: 'clean' | 'unclean' | 'unreported';
}

/**
 * Stops and starts one database server. Success needs two witnesses: the service manager and the readiness probe. A start or stop that
 * fails, times out or is canceled leaves the service as it is then; the caller decides what to do next.
 */
export interface ServiceControl {
  /**
   * Stops the service and waits until the service manager reports it as down and the probe finds no server. Refuses to stop what could
   * not be started again. Throws SERVICE_* or TOOL_NOT_FOUND, or the reason of the signal.
   */
  stop(call: ServiceCall): Promise<StopOutcome>;
  /** Starts the service and waits until it is up and ready. Throws SERVICE_* or TOOL_NOT_FOUND, or the reason of the signal. */
  start(call: ServiceCall): Promise<StartOutcome>;
  /** Waits until something else has started the service. Throws SERVICE_TIMEOUT, or as `start`. */
  waitUntilUp(call: ServiceCall): Promise<void>;
  /** Waits until something else has stopped the service. Throws SERVICE_TIMEOUT, or as `stop`. */
  waitUntilDown(call: ServiceCall): Promise<void>;
}
