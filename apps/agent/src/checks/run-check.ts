import { setTimeout as delay } from 'node:timers/promises';
import { type CheckOutcome, type EngineContext, Failure, toWireError } from '@lastgood/core';
import { findingOfError, type JobResult } from '@lastgood/protocol';
import type { Target } from '../jobs/targets.ts';
import { type CheckConfig, kindOf } from './check-schema.ts';
import { httpCheckSchema, runHttpCheck } from './http-check.ts';
import { runTcpCheck, tcpCheckSchema } from './tcp-check.ts';

const PAUSE_MS = 1_000;
const MAX_FINDINGS = 20;

/** Tries a check once. A server that cannot be reached or read is a finding. */
async function tryOnce(
  check: CheckConfig,
  targets: ReadonlyMap<string, Target>,
  context: EngineContext,
): Promise<CheckOutcome> {
  const { kind, options } = kindOf(check);
  if (kind === 'http') return await runHttpCheck(httpCheckSchema.parse(options), context.signal);
  if (kind === 'tcp') return await runTcpCheck(tcpCheckSchema.parse(options), context.signal);
  const target = targets.get(check.target ?? '');
  if (target === undefined) throw new Failure('NOT_FOUND', `this host has no target "${check.target}"`);
  try {
    return await target.engine.check(kind, options, context);
  } catch (error) {
    context.signal.throwIfAborted();
    if (!(error instanceof Failure)) throw error;
    return { findings: [findingOfError(toWireError(error), { kind: 'target', name: target.name })], details: [] };
  }
}

/** A request that may change something is sent once. */
const isRepeatable = ({ http }: CheckConfig): boolean => http === undefined || http.method === 'GET';

/** Runs a check of the agent file until it passes or its time (`within`) is over. Only an HTTP request with another method than GET can change something. */
export async function runCheck(
  check: CheckConfig,
  targets: ReadonlyMap<string, Target>,
  context: EngineContext,
): Promise<Extract<JobResult, { command: 'check' }>> {
  const { clock, signal } = context;
  const started = clock.monotonic();
  for (let tries = 1; ; tries += 1) {
    const { findings, details } = await tryOnce(check, targets, context);
    const spent = clock.monotonic() - started;
    if (findings.length === 0 || !isRepeatable(check) || spent + PAUSE_MS > check.within)
      return {
        command: 'check',
        kind: kindOf(check).kind,
        passed: findings.length === 0,
        findings: findings.slice(0, MAX_FINDINGS),
        details: [...details],
        tries,
        durationMs: Math.round(spent),
      };
    await delay(PAUSE_MS, undefined, { signal });
  }
}
