import { existsSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Clock, toWireError } from '@lastgood/core';
import { createPostgresEngine } from '@lastgood/engines/postgres';
import { checkMount, openFolderRepository } from '@lastgood/repository';
import type { AgentConfig, TargetConfig } from './config/agent-config.ts';

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

async function checkRepository(name: string, options: AgentConfig['repositories'][string]): Promise<Found> {
  const { path, mustBeMount } = options;
  const place = { path, mustBeMount };
  try {
    await checkMount(place);
    const names = existsSync(path) ? (await readdir(path)).filter((each) => each !== 'lost+found') : [];
    if (names.length === 0) return { name, inOrder: true, text: `${path} becomes a repository with the first backup` };
    return { name, inOrder: true, text: `${path} is repository ${(await openFolderRepository(place)).id}` };
  } catch (error) {
    return failed(name, error);
  }
}

async function checkTarget(name: string, { connection }: TargetConfig, clock: Clock, workDir: string): Promise<Found> {
  try {
    const context = {
      workDir,
      signal: AbortSignal.timeout(LOOK_MS),
      clock,
      progress: () => undefined,
      log: () => undefined,
    };
    const probed = await createPostgresEngine(connection).probe(context);
    const about = `${probed.state}, PostgreSQL ${probed.version ?? 'unknown'}, ${probed.databases.length} databases`;
    return {
      name,
      inOrder: probed.state === 'ok',
      text: [...(probed.state === 'ok' ? [about] : []), ...probed.findings].join('\n  '),
    };
  } catch (error) {
    return failed(name, error);
  }
}

/** Looks at everything that an agent file names: changes nothing, and is done within half a minute for each server. */
export async function checkHost(config: AgentConfig, clock: Clock): Promise<Found[]> {
  const workDir = await mkdtemp(join(tmpdir(), 'lastgood-check-'));
  try {
    return await Promise.all([
      ...Object.entries(config.repositories).map(([name, options]) => checkRepository(`repository ${name}`, options)),
      ...Object.entries(config.targets).map(([name, target]) => checkTarget(`target ${name}`, target, clock, workDir)),
    ]);
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}
