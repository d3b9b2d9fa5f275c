import { Failure } from '@lastgood/core';
import { captureTool, runTool, type ToolCall } from '../run-tool.ts';
import type { SystemdService } from './service-definition.ts';
import {
  type CallLimits,
  callTimeout,
  EVERY_EXIT_STATUS,
  type ServiceManager,
  type ServiceReport,
  type StartBlock,
} from './service-manager.ts';

const CALL_MS = 10_000;
const MAX_OUTPUT_BYTES = 64 * 1024;
const PROPERTIES = [
  'LoadState',
  'ActiveState',
  'SubState',
  'Result',
  'MainPID',
  'Job',
  'ExecMainCode',
  'ExecMainStatus',
  'NRestarts',
  'ConditionResult',
];
/** Exit statuses of systemctl, which follow the LSB. */
const REFUSED = 4;
const NOT_INSTALLED = 5;
const NOT_CONFIGURED = 6;

export type UnitProperties = Readonly<Record<string, string>>;

/** Parses the output of `systemctl show`: lines of `Name=value`. */
export function parseUnitProperties(text: string): UnitProperties {
  const pairs = text.split('\n').flatMap((line) => {
    const at = line.indexOf('=');
    return at > 0 ? [[line.slice(0, at), line.slice(at + 1)] as const] : [];
  });
  return Object.fromEntries(pairs);
}

function startBlockOf(loadState: string | undefined): StartBlock {
  if (loadState === 'masked' || loadState === 'not-found') return loadState;
  return loadState === 'error' || loadState === 'bad-setting' ? 'invalid' : null;
}

/**
 * The state of a unit from the properties that systemd reports. A unit that is inactive because it does not exist is not down: the server
 * may run under another name. A unit that is active without a process (`exited`, such as an umbrella unit of Debian)
 * says nothing about the server. A unit with a main process is not down.
 */
export function classifyUnit(properties: UnitProperties): ServiceReport {
  const { LoadState: load, ActiveState: active, SubState: sub = '', MainPID: pid = '0', Job: job = '' } = properties;
  const context = { startBlock: startBlockOf(load), pending: job !== '' && job !== '0', properties };
  switch (active) {
    case 'active':
    case 'reloading':
    case 'refreshing':
      if (sub === 'exited') return { state: 'unknown', cause: 'no-process', ...context };
      return { state: 'up', cause: 'running', ...context };
    case 'inactive':
    case 'failed':
      if (pid !== '0') return { state: 'unknown', cause: 'stopping', ...context };
      if (active === 'failed') return { state: 'down', cause: 'failed', ...context };
      if (load === 'not-found') return { state: 'unknown', cause: 'not-found', ...context };
      return { state: 'down', cause: 'stopped', ...context };
    case 'activating':
      return { state: 'unknown', cause: sub.startsWith('auto-restart') ? 'restarting' : 'starting', ...context };
    case 'deactivating':
      return { state: 'unknown', cause: 'stopping', ...context };
    default:
      return { state: 'unknown', cause: 'no-report', ...context };
  }
}

/** Reads the state of a unit. Throws TOOL_NOT_FOUND without systemctl; an unusable answer is reported as `no-report`. */
export async function readUnit(unit: string, systemctlPath: string, limits: CallLimits): Promise<ServiceReport> {
  const args = ['--no-pager', 'show', `--property=${PROPERTIES.join(',')}`, '--', unit];
  try {
    const { stdout } = await captureTool(systemctl(systemctlPath, args, limits), MAX_OUTPUT_BYTES);
    return classifyUnit(parseUnitProperties(stdout));
  } catch (error) {
    if (!(error instanceof Failure) || limits.signal.aborted || error.code === 'TOOL_NOT_FOUND') throw error;
    return { state: 'unknown', cause: 'no-report', startBlock: null, pending: false, properties: {} };
  }
}

function systemctl(file: string, args: readonly string[], limits: CallLimits): ToolCall {
  return { file, args, signal: limits.signal, timeoutMs: callTimeout(limits, CALL_MS) };
}

/** The failure that an exit status of `systemctl start` or `systemctl stop` stands for. */
function refusalOf(action: 'start' | 'stop', unit: string, exitCode: number): Failure {
  const what = `systemctl ${action} ${unit} ended with exit status ${exitCode}`;
  // A policy that wants to ask for a password, which nobody can enter here, has no exit status of its own.
  if (process.getuid?.() !== 0 && (exitCode === REFUSED || exitCode === 1))
    return new Failure('SERVICE_FORBIDDEN', `${what}: the agent does not run as root`, {
      remedy: `Run the agent as root, or let a polkit rule allow its user to manage ${unit}.`,
    });
  if (exitCode === REFUSED)
    return new Failure('SERVICE_FORBIDDEN', `${what}: systemd refuses the operation`, {
      remedy: `Check that the host is not shutting down and that ${unit} does not set RefuseManualStart or RefuseManualStop.`,
    });
  if (exitCode === NOT_INSTALLED)
    return new Failure('SERVICE_NOT_FOUND', `${what}: ${unit}, or a unit that it requires, does not exist`);
  if (exitCode === NOT_CONFIGURED)
    return new Failure('SERVICE_FAILED', `${what}: the unit file cannot be used`, {
      remedy: `Run systemd-analyze verify ${unit} and correct what it reports.`,
    });
  return new Failure('SERVICE_FAILED', what, { remedy: `Run systemctl status ${unit} on the host.` });
}

/**
 * Requests operations without waiting for them (`--no-block`), so that deadline and cancellation are ours and a hanging stop job keeps no
 * process of the agent busy. The state is read from `systemctl show`, never from text meant for people.
 */
export function createSystemdManager({ unit }: SystemdService, systemctlPath: string): ServiceManager {
  const request = async (action: 'start' | 'stop' | 'reset-failed', limits: CallLimits): Promise<number> => {
    const args = ['--no-pager', '--no-ask-password', '--no-block', action, '--', unit];
    try {
      return (await runTool({ ...systemctl(systemctlPath, args, limits), acceptedExitCodes: EVERY_EXIT_STATUS }))
        .exitCode;
    } catch (error) {
      if (!(error instanceof Failure) || error.code !== 'JOB_DEADLINE' || limits.signal.aborted) throw error;
      throw new Failure('SERVICE_TIMEOUT', `systemctl ${action} ${unit} did not return`, {
        cause: error,
        remedy: 'Check whether systemd responds (`systemctl is-system-running`).',
      });
    }
  };
  return {
    label: unit,
    settleMs: 0,
    remedy: `Read journalctl --unit=${unit}, correct the cause, then try again.`,
    report: (limits) => readUnit(unit, systemctlPath, limits),
    async requestStop(limits) {
      const exitCode = await request('stop', limits);
      return exitCode === 0 ? null : refusalOf('stop', unit, exitCode);
    },
    async requestStart(report, limits) {
      // Clears the count of failed starts as well, which would make systemd refuse the next one.
      if (report.cause === 'failed') await request('reset-failed', limits);
      const exitCode = await request('start', limits);
      return exitCode === 0 ? null : refusalOf('start', unit, exitCode);
    },
  };
}
