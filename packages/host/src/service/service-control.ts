import {
  Failure,
  type ReadinessProbe,
  type ServiceCall,
  type ServiceControl,
  type StartOutcome,
  type StopOutcome,
  unreachable,
} from '@lastgood/core';
import { pollUntil, systemWaitingClock, type WaitingClock } from '../poll-until.ts';
import { createCommandManager } from './command-service.ts';
import { probeReadiness, type Readiness } from './readiness.ts';
import type { ResolvedService } from './service-definition.ts';
import type { CallLimits, ServiceManager, ServiceReport } from './service-manager.ts';
import { createSystemdManager } from './systemd-service.ts';

const REPORT_MS = 30_000;

export interface ServiceSettings {
  readonly clock: WaitingClock;
  /** The systemctl to run. */
  readonly systemctlPath: string;
}
export const DEFAULT_SERVICE_SETTINGS: ServiceSettings = { clock: systemWaitingClock, systemctlPath: 'systemctl' };

interface Observation {
  readonly report: ServiceReport;
  readonly readiness: Readiness;
}

const isUp = ({ report, readiness }: Observation): boolean => report.state === 'up' && readiness.state === 'ready';
const isDown = ({ report, readiness }: Observation): boolean =>
  report.state === 'down' && readiness.state === 'not-ready';

function propertiesOf({ properties }: ServiceReport): string {
  const text = Object.entries(properties)
    .filter(([, value]) => value !== '')
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
  return text === '' ? 'no report' : text;
}

function describeReadiness(readiness: Readiness): string {
  switch (readiness.state) {
    case 'ready':
      return 'the server accepts requests';
    case 'not-ready':
      return 'the server does not accept requests';
    case 'undetermined':
      return `it is not known whether the server accepts requests (${readiness.reason.message})`;
    default:
      return unreachable(readiness);
  }
}

const describe = ({ report, readiness }: Observation): string =>
  `${report.state}, ${report.cause} (${propertiesOf(report)}); ${describeReadiness(readiness)}`;

/** The control of one service through its manager. */
export class ManagedService implements ServiceControl {
  readonly #manager: ServiceManager;
  readonly #clock: WaitingClock;

  constructor(manager: ServiceManager, clock: WaitingClock) {
    this.#manager = manager;
    this.#clock = clock;
  }

  /** The state as the service manager reports it, with its cause. Throws TOOL_NOT_FOUND, SERVICE_NOT_FOUND or DATA_FOLDER_UNSAFE. */
  report(signal: AbortSignal): Promise<ServiceReport> {
    return this.#manager.report(this.#limits(REPORT_MS, signal));
  }

  async state(signal: AbortSignal): Promise<ServiceReport['state']> {
    return (await this.report(signal)).state;
  }

  /**
   * Stops the service and waits until the service manager reports it as down and the probe finds no server. Refuses to stop what could
   * not be started again, or what the service manager does not report on. Throws SERVICE_NOT_FOUND, SERVICE_MASKED, SERVICE_TIMEOUT, SERVICE_FAILED, SERVICE_FORBIDDEN,
   * TOOL_NOT_FOUND, DATA_FOLDER_UNSAFE, or the reason of the signal.
   */
  async stop(call: ServiceCall): Promise<StopOutcome> {
    const limits = this.#limits(call.deadlineMs, call.signal);
    const before = await this.#observe(call.isReady, limits);
    if (isDown(before)) return { changed: false, ended: before.report.cause === 'failed' ? 'unclean' : 'unreported' };
    const { report } = before;
    if (report.state !== 'down') {
      this.#refuseUnusable(before, 'stop');
      const refusal = await this.#manager.requestStop(limits);
      if (refusal !== null && !isDown(await this.#observe(call.isReady, limits))) throw refusal;
    }
    const { report: after } = await this.#waitUntilDown(call.isReady, limits);
    if (after.cause === 'failed') return { changed: true, ended: 'unclean' };
    return { changed: true, ended: report.state === 'up' && 'Result' in after.properties ? 'clean' : 'unreported' };
  }

  /**
   * Starts the service and waits until the service manager reports it as up and the probe finds it ready. Throws SERVICE_FAILED when the
   * server ends again, SERVICE_TIMEOUT, SERVICE_NOT_FOUND, SERVICE_MASKED, SERVICE_FORBIDDEN, TOOL_NOT_FOUND, DATA_FOLDER_UNSAFE, or the
   * reason of the signal.
   */
  async start(call: ServiceCall): Promise<StartOutcome> {
    const limits = this.#limits(call.deadlineMs, call.signal);
    const before = await this.#observe(call.isReady, limits);
    if (isUp(before)) return { changed: false };
    const { report } = before;
    const request = report.state !== 'up';
    if (request) {
      this.#refuseUnusable(before, 'start');
      const refusal = await this.#manager.requestStart(report, limits);
      if (refusal !== null && !isUp(await this.#observe(call.isReady, limits))) throw refusal;
    }
    await this.#waitUntilStarted(call.isReady, limits, !request);
    return { changed: true };
  }

  /** Waits until something else has started the service. Throws SERVICE_TIMEOUT, or as `report`. */
  async waitUntilUp(call: ServiceCall): Promise<void> {
    const limits = this.#limits(call.deadlineMs, call.signal);
    await this.#waitFor('up', call.isReady, limits, isUp);
  }

  /** Waits until something else has stopped the service. Throws SERVICE_TIMEOUT, or as `report`. */
  async waitUntilDown(call: ServiceCall): Promise<void> {
    await this.#waitUntilDown(call.isReady, this.#limits(call.deadlineMs, call.signal));
  }

  #limits(deadlineMs: number, signal: AbortSignal): CallLimits {
    return { until: this.#clock.monotonic() + deadlineMs, signal, clock: this.#clock };
  }

  async #observe(isReady: ReadinessProbe, limits: CallLimits): Promise<Observation> {
    const report = await this.#manager.report(limits);
    return { report, readiness: await probeReadiness(isReady, limits) };
  }

  #waitUntilDown(isReady: ReadinessProbe, limits: CallLimits): Promise<Observation> {
    return this.#waitFor('down', isReady, limits, isDown);
  }

  /** Waits for a start that was requested, and fails early when the server has ended again. */
  async #waitUntilStarted(isReady: ReadinessProbe, limits: CallLimits, wasUp: boolean): Promise<void> {
    const settledAt = this.#clock.monotonic() + this.#manager.settleMs;
    let seenUp = wasUp;
    await this.#waitFor('up', isReady, limits, (observation) => {
      const { report } = observation;
      seenUp ||= report.state === 'up';
      if (report.cause === 'no-process') this.#refuseUnusable(observation, 'start');
      const mayStillCome = report.pending || (!seenUp && this.#clock.monotonic() < settledAt);
      if (report.state === 'down' && !mayStillCome)
        throw this.#failure('SERVICE_FAILED', `${this.#manager.label} ended after its start`, observation);
      return isUp(observation);
    });
  }

  async #waitFor(
    wanted: 'up' | 'down',
    isReady: ReadinessProbe,
    limits: CallLimits,
    check: (observation: Observation) => boolean,
  ): Promise<Observation> {
    const { label } = this.#manager;
    let last: Observation | undefined;
    const found = await pollUntil(
      async () => {
        last = await this.#observe(isReady, limits);
        return check(last) ? last : undefined;
      },
      { ...limits, what: `waiting until ${label} is ${wanted}` },
    );
    if (found !== undefined) return found;
    if (wanted === 'up' && last?.report.cause === 'restarting')
      throw this.#failure('SERVICE_FAILED', `${label} ends after each start and is restarted`, last);
    throw this.#failure('SERVICE_TIMEOUT', `${label} was not ${wanted} within the deadline`, last);
  }

  #failure(code: 'SERVICE_FAILED' | 'SERVICE_TIMEOUT', what: string, last: Observation | undefined): Failure {
    if (last === undefined) return new Failure(code, what);
    const { report, readiness } = last;
    const remedy =
      report.state === 'down' && readiness.state === 'ready'
        ? `Find the process that serves in place of ${this.#manager.label}, and correct the service or the connection in the agent file.`
        : this.#manager.remedy;
    const cause = readiness.state === 'undetermined' ? readiness.reason : undefined;
    return new Failure(code, `${what}: ${describe(last)}`, { cause, remedy });
  }

  /** Refuses a service that cannot be started, or whose state cannot be read: a stop might leave it stopped. */
  #refuseUnusable(observation: Observation, action: 'start' | 'stop'): void {
    const { label } = this.#manager;
    const { report } = observation;
    const consequence =
      action === 'stop' ? 'it was not stopped, because it could not be started again' : 'it was not started';
    if (report.cause === 'no-process')
      throw new Failure('SERVICE_FAILED', `${label} is active, but it runs no process of its own`, {
        remedy: 'Name the unit that runs the server in the agent file, such as cluster@main.service.',
      });
    if (report.cause === 'no-report' && action === 'stop')
      throw this.#failure('SERVICE_FAILED', `the state of ${label} is not known; it was not stopped`, observation);
    switch (report.startBlock) {
      case null:
        return;
      case 'not-found':
        throw new Failure('SERVICE_NOT_FOUND', `${label} does not exist; ${consequence}`);
      case 'masked':
        throw new Failure('SERVICE_MASKED', `${label} is masked; ${consequence}`, {
          remedy: `Run systemctl unmask ${label} if the service may be started, then try again.`,
        });
      case 'invalid':
        throw new Failure('SERVICE_FAILED', `systemd cannot load ${label}; ${consequence}`, {
          remedy: `Run systemd-analyze verify ${label} and correct what it reports.`,
        });
      default:
        unreachable(report.startBlock);
    }
  }
}

function createManager(service: ResolvedService, { systemctlPath }: ServiceSettings): ServiceManager {
  switch (service.kind) {
    case 'systemd':
      return createSystemdManager(service, systemctlPath);
    case 'command':
      return createCommandManager(service);
    default:
      return unreachable(service);
  }
}

/** The control of one service. Hooks have to be resolved first (`resolveService`). */
export function createServiceControl(
  service: ResolvedService,
  settings: ServiceSettings = DEFAULT_SERVICE_SETTINGS,
): ManagedService {
  return new ManagedService(createManager(service, settings), settings.clock);
}
