import type { CheckOutcome } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import { z } from 'zod';

const REQUEST_MS = 30_000;
const MAX_BODY_BYTES = 1024 * 1024;

export const httpCheckSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).max(2000),
  method: z.enum(['GET', 'POST']).default('GET'),
  body: z.string().max(10_000).optional().describe('The body of a POST, as JSON.'),
  status: z.int().min(100).max(599).default(200).describe('The status of the answer; 200 when absent.'),
  json: z
    .record(z.string().min(1).max(200), z.union([z.string().max(255), z.number(), z.boolean()]))
    .default({})
    .describe('Values of the answer by their path, such as `{ status: UP }` or `{ components.db.status: UP }`.'),
});
type HttpCheck = z.output<typeof httpCheckSchema>;

/** At most `MAX_BODY_BYTES` of a body; the rest is not read. */
async function readBody(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > MAX_BODY_BYTES) break;
  }
  return text;
}

function valueAt(content: unknown, path: string): unknown {
  let value = content;
  for (const key of path.split('.'))
    value = typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : null;
  return value;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Short texts of an answer are states, such as DOWN. Anything else may be data. */
const shown = (value: unknown): string => {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (value === null || value === undefined) return 'missing';
  return typeof value === 'string' && /^[A-Z_]{1,32}$/.test(value) ? value : 'another value';
};

/** The name and path of the address, without what may be a secret. */
function nameOf(address: string): string {
  const { host, pathname } = new URL(address);
  return `${host}${pathname}`;
}
const reasonOf = (error: unknown): string => {
  const cause: unknown = error instanceof Error ? (error.cause ?? error) : error;
  if (cause instanceof Error && 'code' in cause) return String(cause.code);
  return cause instanceof Error ? cause.name : 'unknown';
};

/** Sends one request. Redirects are not followed: they are another status. */
export async function runHttpCheck(
  { url, method, body, status, json }: HttpCheck,
  signal: AbortSignal,
): Promise<CheckOutcome> {
  const what = nameOf(url);
  try {
    const response = await fetch(url, {
      method,
      redirect: 'manual',
      signal: AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS)]),
      ...(body === undefined ? {} : { body, headers: { 'content-type': 'application/json' } }),
    });
    const content = parseJson(await readBody(response));
    const findings: Finding[] = [];
    if (response.status !== status)
      findings.push(
        makeFinding('CHECK_VALUE', null, {
          what: `the status of ${what}`,
          found: String(response.status),
          expected: String(status),
        }),
      );
    for (const [path, expected] of Object.entries(json)) {
      const found = valueAt(content, path);
      if (found !== expected)
        findings.push(
          makeFinding('CHECK_VALUE', null, {
            what: `"${path}" of ${what}`,
            found: shown(found),
            expected: String(expected),
          }),
        );
    }
    return { findings, details: [{ label: 'status', value: response.status, unit: 'count' }] };
  } catch (error) {
    signal.throwIfAborted();
    return { findings: [makeFinding('CHECK_NO_CONNECTION', null, { what, reason: reasonOf(error) })], details: [] };
  }
}
