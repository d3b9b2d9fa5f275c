import { join } from 'node:path';
import { type Engine, type EngineContext, Failure } from '@lastgood/core';
import type { Compensation } from '@lastgood/protocol';
import { z } from 'zod';
import { COPY_NAME, REMOVE_COPY, THAW_SERVER } from './copy-backup.ts';
import { freezeStateSchema, thawServer } from './freeze.ts';
import { removeTree } from './owner-commands.ts';
import { REMOVE_STORES, SWAP_BACK } from './restore.ts';
import { needsSwapBack, removeStore, swapBack, swapForward } from './restore-files.ts';
import { restoreNamesOf } from './restore-names.ts';
import { START_SERVER, startServer, stopServer } from './service-steps.ts';
import { type Neo4jTarget, storeContextOf } from './target.ts';
import { SWAP_FORWARD } from './undo.ts';

type Handler = (target: Neo4jTarget, params: Compensation['params'], context: EngineContext) => Promise<void>;

const copySchema = z.object({ name: z.string().regex(COPY_NAME) });
const storeSchema = z.object({ jobId: z.uuid(), database: z.string() });
const swapSchema = z.object({
  jobId: z.uuid(),
  databases: z.array(z.object({ name: z.string(), replaced: z.boolean() })),
});
const undoSchema = z.object({ jobId: z.uuid(), databases: z.array(z.string()) });

/** The params of a compensation as this version journals them. Throws COMMAND_UNSUPPORTED for others. */
function read<T>(schema: z.ZodType<T>, params: Compensation['params']): T {
  const { data, success } = schema.safeParse(params);
  if (success) return data;
  throw new Failure('COMMAND_UNSUPPORTED', 'the journal holds a step that this version cannot take back', {
    remedy: 'Start the version of the agent that ran the job.',
  });
}

async function removeCopy(
  target: Neo4jTarget,
  params: Compensation['params'],
  { signal }: EngineContext,
): Promise<void> {
  const { name } = read(copySchema, params);
  await removeTree(await storeContextOf(target, signal), join(target.paths.copyFolder, name));
}

async function removeStores(
  target: Neo4jTarget,
  params: Compensation['params'],
  { signal }: EngineContext,
): Promise<void> {
  const { jobId, database } = read(storeSchema, params);
  const { staging, undone } = restoreNamesOf(database, jobId);
  const store = await storeContextOf(target, signal);
  for (const name of [staging, undone]) await removeStore(store, name);
}

/** Brings the old databases back and starts the server. It is stopped before when it runs with the restored ones. */
async function revertSwap(target: Neo4jTarget, params: Compensation['params'], context: EngineContext): Promise<void> {
  const { jobId, databases } = read(swapSchema, params);
  const store = await storeContextOf(target, context.signal);
  const swaps = databases.map(({ name, replaced }) => ({ names: restoreNamesOf(name, jobId), replaced }));
  const needed: typeof swaps = [];
  for (const swap of swaps) if (await needsSwapBack(store.store, swap.names, swap.replaced)) needed.push(swap);
  if (needed.length > 0) await stopServer(target, context);
  for (const { names, replaced } of needed) await swapBack(store, names, replaced);
  await startServer(target, context);
}

/** Puts what a restore had brought back into place, because its undo was interrupted. */
async function revertUndo(target: Neo4jTarget, params: Compensation['params'], context: EngineContext): Promise<void> {
  const { jobId, databases } = read(undoSchema, params);
  const store = await storeContextOf(target, context.signal);
  await stopServer(target, context);
  for (const database of databases) await swapForward(store, restoreNamesOf(database, jobId));
  await startServer(target, context);
}

const HANDLERS: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  [START_SERVER, (target, _params, context) => startServer(target, context)],
  [THAW_SERVER, (_target, params) => thawServer(read(freezeStateSchema, params))],
  [REMOVE_COPY, removeCopy],
  [REMOVE_STORES, removeStores],
  [SWAP_BACK, revertSwap],
  [SWAP_FORWARD, revertUndo],
]);

/** The handler that takes back one kind of step; null for a kind of another engine. */
export function compensationOf(target: Neo4jTarget, kind: string): ReturnType<Engine['compensationOf']> {
  const handler = HANDLERS.get(kind);
  return handler === undefined ? null : (params, context) => handler(target, params, context);
}
