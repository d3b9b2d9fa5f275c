import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bug, type Clock, Failure, noSteps, type StreamRequirements, toWireError } from '@lastgood/core';
import { engineNamed } from '@lastgood/engines';
import { findContainment } from '@lastgood/host';
import { type Finding, formatFinding, remedyOfFinding } from '@lastgood/protocol';
import { describeExposure } from './check-limits.ts';
import type { AgentConfig } from './config/agent-config.ts';
import { servicesOf } from './jobs/targets.ts';
import { checkRepository } from './repositories/check-repository.ts';
import { openExistingRepository, readRepositoryUser } from './repositories/repository-access.ts';

const LOOK_MS = 30_000;

/** One thing that the agent file names, as it was found on this host. */
export interface Found {
  readonly name: string;
  readonly inOrder: boolean;
  readonly text: string;
}

/** What went wrong in a line, its remedy in the next. */
function failed(name: string, error: unknown): Found {
  const { code, message, remedy } = toWireError(error);
  return { name, inOrder: false, text: `${code}: ${message}\n  ${remedy}` };
}

async function checkOneRepository(name: string, config: AgentConfig, clock: Clock): Promise<Found> {
  const about = `repository ${name}`;
  try {
    return { name: about, inOrder: true, text: await checkRepository(config, name, clock) };
  } catch (error) {
    return failed(about, error);
  }
}

/** What to do about a finding follows in a line of its own. */
function withRemedy(finding: Finding): string {
  const remedy = remedyOfFinding(finding);
  return remedy === null ? formatFinding(finding) : `${formatFinding(finding)}\n    ${remedy}`;
}

/** Refuses REPOSITORY_FOREIGN when the first backup would be; a host that is not enrolled yet, or a repository that is still to be made, refuses nothing. */
async function checkOwner(config: AgentConfig, name: string, systemId: string | null): Promise<void> {
  const { environment, host } = config;
  const repository = config.repositories[config.targets[name]?.repository ?? ''];
  const user = await readRepositoryUser(config).catch(() => undefined);
  if (user === undefined || repository === undefined || systemId === null) return;
  const opened = await openExistingRepository(repository, user).catch(() => undefined);
  await opened?.checkOwner({ environment, host, target: name }, systemId);
}

async function checkTarget(name: string, config: AgentConfig, clock: Clock, workDir: string): Promise<Found> {
  const about = `target ${name}`;
  try {
    const context = {
      workDir,
      signal: AbortSignal.timeout(LOOK_MS),
      clock,
      steps: noSteps,
      progress: () => undefined,
      log: () => undefined,
    };
    const target = config.targets[name];
    if (target === undefined) throw new Bug(`no target ${name}`);
    const engine = engineNamed(target.engine);
    const probed = await engine.create(target.connection, servicesOf(config, name, target)).probe(context);
    await checkOwner(config, name, probed.systemId);
    const inOrder = probed.state === 'ok';
    const words = `${probed.state}, ${engine.title} ${probed.version ?? 'unknown'}, ${probed.databases.length} databases`;
    return {
      name: about,
      inOrder,
      text: [...(inOrder ? [words] : []), ...probed.findings.map(withRemedy)].join('\n  '),
    };
  } catch (error) {
    return failed(about, error);
  }
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** What the settings of a server allow to be lost, what it lacks for the stream, and which statements change that. */
function describeRequirements({ statements, pendingRestart, rpoSeconds, unsafe }: StreamRequirements): string {
  const rpo =
    rpoSeconds === null
      ? 'RPO without a limit: nothing closes segments of the log, and they are stored when they are full'
      : `RPO ${plural(rpoSeconds, 'second')}: what is committed is stored within this time`;
  const restart = pendingRestart.length > 0 ? [`settings that wait for a restart: ${pendingRestart.join(', ')}`] : [];
  const lines = statements.map(({ text, needsRestart }) => `  ${text}${needsRestart ? '  -- needs a restart' : ''}`);
  return [
    rpo,
    ...unsafe.map((name) => `${name} is off: a crash of the server can damage data that backups then contain`),
    ...restart,
    ...(lines.length > 0 ? ['an administrator of the server needs to run:', ...lines] : []),
  ].join('\n  ');
}

/** What the server of a target lacks for its log stream; nothing for a target without one. */
async function checkStream(name: string, config: AgentConfig): Promise<Found[]> {
  const about = `stream of ${name}`;
  const target = config.targets[name];
  if (target === undefined) return [];
  try {
    const { stream } = engineNamed(target.engine).create(target.connection, servicesOf(config, name, target));
    if (stream?.isEnabled !== true) return [];
    const requirements = await stream.readRequirements({ signal: AbortSignal.timeout(LOOK_MS) });
    const { statements, pendingRestart, unsafe } = requirements;
    const inOrder = statements.length + pendingRestart.length + unsafe.length === 0;
    return [{ name: about, inOrder, text: describeRequirements(requirements) }];
  } catch (error) {
    return [failed(about, error)];
  }
}

/** Informs; the problems of a repository are found where it is checked. */
async function checkLimits(name: string, config: AgentConfig, clock: Clock): Promise<Found[]> {
  const text = await describeExposure(config, name, clock);
  return text === null ? [] : [{ name: `limits of ${name}`, inOrder: true, text }];
}

/** What restore tests of this host can do with the code of backups, and which targets they cannot test. */
async function checkContainment(config: AgentConfig): Promise<Found> {
  const name = 'restore tests';
  const containment = await findContainment(AbortSignal.timeout(LOOK_MS));
  switch (containment.kind) {
    case 'namespaces': {
      const { first, count } = config.restoreTests.uids;
      return {
        name,
        inOrder: true,
        text: `restored code is contained: namespaces and a user id of its own (${first} to ${first + count - 1})`,
      };
    }
    case 'user-namespace':
      return {
        name,
        inOrder: true,
        text: 'restored code is contained: namespaces, with the user id of the agent. It can exhaust the memory and processes of this user',
      };
    case 'none': {
      const targets = Object.entries(config.targets);
      const refused = targets.flatMap(([target, { allow }]) => (allow.uncontainedRestoreTests ? [] : [target]));
      const { code, remedy } = new Failure('RESTORE_TEST_UNCONTAINED', '');
      const cannot = `this host cannot contain restored code: ${containment.missing}`;
      return refused.length === 0
        ? { name, inOrder: true, text: `${cannot}. The agent file allows that for every target` }
        : {
            name,
            inOrder: false,
            text: `${code}: ${cannot}. Backups are verified to level 3 only: ${refused.join(', ')}\n  ${remedy}`,
          };
    }
  }
}

/** Checks everything that an agent file names, at most half a minute for each server. In a bucket it stores and removes an object. */
export async function checkHost(config: AgentConfig, clock: Clock): Promise<Found[]> {
  const workDir = await mkdtemp(join(tmpdir(), 'lastgood-check-'));
  try {
    const names = Object.keys(config.targets);
    const found = await Promise.all([
      ...Object.keys(config.repositories).map((name) => checkOneRepository(name, config, clock)),
      ...names.map((name) => checkTarget(name, config, clock, workDir)),
      checkContainment(config),
    ]);
    const streams = await Promise.all(names.map((name) => checkStream(name, config)));
    const limits = await Promise.all(names.map((name) => checkLimits(name, config, clock)));
    return [...found, ...streams.flat(), ...limits.flat()];
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}
