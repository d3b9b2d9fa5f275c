import { Failure, type ReadinessProbe } from '@lastgood/core';
import { cancellationOf } from '../poll-until.ts';
import { type CallLimits, callTimeout } from './service-manager.ts';

const PROBE_MS = 5_000;

export type Readiness =
  | { readonly state: 'ready' | 'not-ready' }
  | { readonly state: 'undetermined'; readonly reason: Failure };

/** Runs a probe once. One that does not settle within 5 s, even if it ignores its signal, is undetermined. */
export async function probeReadiness(isReady: ReadinessProbe, limits: CallLimits): Promise<Readiness> {
  const { signal } = limits;
  const timeoutMs = callTimeout(limits, PROBE_MS);
  const timeout = AbortSignal.timeout(timeoutMs);
  const either = AbortSignal.any([signal, timeout]);
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(either.reason);
  either.addEventListener('abort', abort);
  try {
    either.throwIfAborted();
    return { state: (await Promise.race([isReady(either), aborted.promise])) ? 'ready' : 'not-ready' };
  } catch (error) {
    if (signal.aborted) throw cancellationOf(signal, 'the readiness probe');
    if (error instanceof Failure) return { state: 'undetermined', reason: error };
    if (!timeout.aborted) throw error;
    const reason = new Failure('SERVICE_TIMEOUT', `the readiness probe did not return within ${timeoutMs} ms`);
    return { state: 'undetermined', reason };
  } finally {
    either.removeEventListener('abort', abort);
  }
}
