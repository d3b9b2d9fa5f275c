import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { Failure } from '@lastgood/core';

export const MAX_BODY = 256 * 1024;

export function answer(response: ServerResponse, status: number, body: unknown): void {
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .end(JSON.stringify(body));
}

/** The body of a request. Throws BAD_INPUT for one that is too long, has no length or is not JSON. */
export async function jsonBody(request: IncomingMessage): Promise<unknown> {
  if (
    Number(request.headers['content-length'] ?? Number.NaN) > MAX_BODY ||
    request.headers['content-length'] === undefined
  )
    throw new Failure('BAD_INPUT', `a body needs a length of at most ${MAX_BODY} bytes`);
  try {
    return JSON.parse(await text(request));
  } catch (error) {
    throw new Failure('BAD_INPUT', 'the body is not JSON', { cause: error });
  }
}
