import type { SendResult } from './sender.ts';

const ANSWER_MS = 20_000;
const MAX_RETRY_AFTER_MS = 6 * 3_600_000;

/** The value of a Retry-After header in ms: seconds, or an HTTP date. */
function retryAfterMs(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - nowMs;
  return Number.isNaN(ms) ? null : Math.min(Math.max(ms, 0), MAX_RETRY_AFTER_MS);
}

export interface PostRequest {
  readonly url: string;
  readonly body: string;
  readonly headers: Readonly<Record<string, string>>;
}

/**
 * Posts once and says what came of it. Redirects are not followed: they would take a signed message to another receiver. 410 means that
 * the receiver is gone; every other failure may pass. The answer is not read, and never part of a cause.
 */
export async function post(
  { url, body, headers }: PostRequest,
  nowMs: number,
  signal: AbortSignal,
): Promise<SendResult> {
  try {
    const response = await fetch(url, {
      method: 'POST',
      body,
      headers,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
    });
    await response.body?.cancel();
    if (response.ok) return { outcome: 'sent' };
    const cause = `HTTP_${response.status}`;
    if (response.status === 410) return { outcome: 'rejected', cause };
    return { outcome: 'retry', cause, retryAfterMs: retryAfterMs(response.headers.get('retry-after'), nowMs) };
  } catch (error) {
    return { outcome: 'retry', cause: networkCode(error), retryAfterMs: null };
  }
}

/** ECONNREFUSED and the like: fetch hides them in the cause of its error. */
function networkCode(error: unknown): string {
  for (let each: unknown = error; each instanceof Error; each = each.cause)
    if ('code' in each && typeof each.code === 'string') return each.code;
  return error instanceof Error && error.name === 'TimeoutError' ? 'ETIMEDOUT' : 'FETCH_FAILED';
}
