import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { z } from 'zod';
import type { Actor } from '../api/api-parts.ts';
import { VERSION } from '../version.ts';
import { AttemptLimit } from './attempt-limit.ts';
import type { BrowserSessions } from './browser-sessions.ts';
import { answer, jsonBody } from './json.ts';
import { isSameOrigin } from './same-origin.ts';

const secret = z.string().min(1).max(200);
const signInSchema = z.union([z.strictObject({ token: secret }), z.strictObject({ code: secret })]);

const viewOf = (actor: Actor | null): object => ({
  user: actor === null ? null : { name: actor.name, scope: actor.scope },
  version: VERSION,
});

/** `/session`: GET shows who is signed in, POST signs in, DELETE signs out. */
export class SessionRoutes {
  readonly #sessions: BrowserSessions;
  readonly #clock: Clock;
  readonly #attempts: AttemptLimit;

  constructor(sessions: BrowserSessions, clock: Clock, failedPerMinute: number) {
    this.#sessions = sessions;
    this.#clock = clock;
    this.#attempts = new AttemptLimit(failedPerMinute);
  }

  /** Throws FORBIDDEN for a request that another site caused, UNAUTHENTICATED for a wrong token or code. */
  async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET') return answer(response, 200, viewOf(await this.#sessions.current(request)));
    if (!isSameOrigin(request.headers))
      throw new Failure('FORBIDDEN', 'the request was sent by a page of another site', {
        remedy: 'Sign in and out on the dashboard itself.',
      });
    if (request.method === 'POST') return await this.#signIn(request, response);
    response.setHeader('set-cookie', await this.#sessions.close(request));
    response.setHeader('clear-site-data', '"cache", "storage"');
    answer(response, 200, viewOf(null));
  }

  async #signIn(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A form of another site can send text, but not this type.
    if (request.headers['content-type']?.split(';', 1)[0] !== 'application/json')
      throw new Failure('BAD_INPUT', 'the body must be application/json');
    const signIn = signInSchema.safeParse(await jsonBody(request));
    if (!signIn.success) throw new Failure('BAD_INPUT', 'send either a token or a code');
    try {
      const { actor, cookie } = await this.#sessions.open(request, signIn.data);
      response.setHeader('set-cookie', cookie);
      answer(response, 200, viewOf(actor));
    } catch (error) {
      if (!(error instanceof Failure && error.code === 'UNAUTHENTICATED')) throw error;
      // Tokens and codes cannot be guessed. Only failures are limited: behind a proxy all callers have one address.
      const caller = request.socket.remoteAddress ?? '';
      const mayTry = this.#attempts.mayTry(caller, this.#clock.monotonic());
      this.#attempts.hasFailed(caller, this.#clock.monotonic());
      if (mayTry) throw error;
      const failure = new Failure('CONFLICT', 'too many failed attempts to sign in', {
        remedy: 'Wait a minute, then sign in again.',
      });
      answer(response, 429, { error: toWireError(failure) });
    }
  }
}
