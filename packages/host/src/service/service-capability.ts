import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { systemWaitingClock } from '../poll-until.ts';
import { findProgramProblem, type ProgramProblem } from '../trusted-program.ts';
import { DEFAULT_SERVICE_SETTINGS, type ServiceSettings } from './service-control.ts';
import {
  type CommandService,
  type ResolvedService,
  SERVICE_ACTIONS,
  type SystemdService,
} from './service-definition.ts';
import { readUnit } from './systemd-service.ts';

const READ_MS = 10_000;

/**
 * What prevents the control of a service, or limits it. Blocking: `no-systemd` (systemd does not run this host), `no-systemctl`,
 * `not-root`, `no-report` (systemd does not report the unit), `unit-not-found`, `unit-masked`, `unit-invalid`, `unit-without-process`,
 * `unit-of-agent` (the agent would stop itself), and `command-…`: a program that must not or cannot be run. Warning:
 * `starts-in-unit-of-agent` (systemd ends the server together with the agent, and the restrictions of the agent's unit apply to it).
 */
export type ServiceLimitationCode =
  | 'no-systemd'
  | 'no-systemctl'
  | 'not-root'
  | 'no-report'
  | 'unit-not-found'
  | 'unit-masked'
  | 'unit-invalid'
  | 'unit-without-process'
  | 'unit-of-agent'
  | `command-${ProgramProblem['code']}`
  | 'starts-in-unit-of-agent';

export interface ServiceLimitation {
  readonly code: ServiceLimitationCode;
  readonly severity: 'blocking' | 'warning';
  /** `unit`, `path`, `action`: what the code is about. */
  readonly params: Readonly<Record<string, string>>;
}
export interface ServiceCapability {
  /** Whether stop and start can work here: no limitation is blocking. */
  readonly possible: boolean;
  readonly limitations: readonly ServiceLimitation[];
}

/** Where the probe looks; the defaults are right outside tests. */
export interface CapabilitySettings extends ServiceSettings {
  /** Exists while systemd runs the host (sd_booted(3)). */
  readonly systemdFolder: string;
  /** Lists the control groups of this process. */
  readonly cgroupFile: string;
  readonly uid: number;
  readonly signal: AbortSignal;
}

/** The systemd unit that this process belongs to, from its control groups; undefined when it belongs to none. */
async function readOwnUnit(cgroupFile: string): Promise<string | undefined> {
  const text = await readFile(cgroupFile, 'utf8').catch(() => '');
  for (const line of text.split('\n')) {
    // hierarchy:controllers:path, where systemd's hierarchy is `0::` (version 2) or `name=systemd` (version 1).
    const [, controllers, ...path] = line.split(':');
    if (controllers !== '' && controllers !== 'name=systemd') continue;
    const unit = path
      .join(':')
      .split('/')
      .findLast((part) => part.endsWith('.service'));
    if (unit !== undefined) return unit;
  }
  return undefined;
}

const blocking = (code: ServiceLimitationCode, params: Record<string, string>): ServiceLimitation => ({
  code,
  severity: 'blocking',
  params,
});

async function limitationsOfUnit(
  { unit }: SystemdService,
  { systemctlPath, signal }: CapabilitySettings,
): Promise<ServiceLimitation[]> {
  const clock = systemWaitingClock;
  try {
    const limits = { until: clock.monotonic() + READ_MS, signal, clock };
    const { cause, startBlock } = await readUnit(unit, systemctlPath, limits);
    return [
      ...(cause === 'no-report' ? [blocking('no-report', { unit })] : []),
      ...(cause === 'no-process' ? [blocking('unit-without-process', { unit })] : []),
      ...(startBlock === null ? [] : [blocking(`unit-${startBlock}`, { unit })]),
    ];
  } catch (error) {
    if (error instanceof Failure && error.code === 'TOOL_NOT_FOUND')
      return [blocking('no-systemctl', { path: systemctlPath })];
    throw error;
  }
}

async function limitationsOfSystemd(
  service: SystemdService,
  settings: CapabilitySettings,
): Promise<ServiceLimitation[]> {
  const { unit } = service;
  const notRoot = settings.uid === 0 ? [] : [blocking('not-root', { unit })];
  if (!existsSync(settings.systemdFolder)) return [blocking('no-systemd', { unit }), ...notRoot];
  const own = await readOwnUnit(settings.cgroupFile);
  return [
    ...notRoot,
    ...(own === unit ? [blocking('unit-of-agent', { unit })] : []),
    ...(await limitationsOfUnit(service, settings)),
  ];
}

async function limitationsOfCommands(
  service: CommandService,
  { cgroupFile }: CapabilitySettings,
): Promise<ServiceLimitation[]> {
  const problems: ServiceLimitation[] = [];
  for (const action of SERVICE_ACTIONS) {
    const problem = await findProgramProblem(service[action][0] ?? '');
    if (problem !== null) problems.push(blocking(`command-${problem.code}`, { action, path: problem.path }));
  }
  const unit = await readOwnUnit(cgroupFile);
  if (unit !== undefined) problems.push({ code: 'starts-in-unit-of-agent', severity: 'warning', params: { unit } });
  return problems;
}

/** Finds out, without changing anything, whether this process can stop and start a service, and what speaks against it. */
export async function serviceControlCapability(
  service: ResolvedService,
  settings: Partial<CapabilitySettings> = {},
): Promise<ServiceCapability> {
  const complete: CapabilitySettings = {
    ...DEFAULT_SERVICE_SETTINGS,
    systemdFolder: '/run/systemd/system',
    cgroupFile: '/proc/self/cgroup',
    uid: process.getuid?.() ?? 0,
    signal: new AbortController().signal,
    ...settings,
  };
  const limitations =
    service.kind === 'systemd'
      ? await limitationsOfSystemd(service, complete)
      : await limitationsOfCommands(service, complete);
  return { possible: limitations.every(({ severity }) => severity !== 'blocking'), limitations };
}
