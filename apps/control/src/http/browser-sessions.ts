import { randomBytes } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Clock, Failure } from '@lastgood/core';
import type { Actor } from '../api/api-parts.ts';
import type { SignInCodes } from '../api/sign-in-codes.ts';
import type { TokenCheck } from '../api/token-check.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { tokenHash } from '../catalog/tokens.ts';
import { isSameOrigin } from './same-origin.ts';

const SESSION_MS = 8 * 3_600_000;
/** A browser keeps a cookie with this prefix only over TLS, for this host alone. */
const SECURE_NAME = '__Host-lastgood';
const PLAIN_NAME = 'lastgood';

/** How a person signs in: with a token, or with a one-time code. */
export type SignIn = { readonly token: string } | { readonly code: string };

/** The secret of the session in a `Cookie` header. */
function secretOf(cookies: string | undefined): string | undefined {
  const values = new Map((cookies ?? '').split('; ').map((each) => each.split('=', 2) as [string, string | undefined]));
  const secret = values.get(SECURE_NAME) ?? values.get(PLAIN_NAME);
  return secret !== undefined && /^[\w-]{43}$/.test(secret) ? secret : undefined;
}

/** The page was loaded over TLS, which a proxy may have ended. */
const isOverTls = ({ headers }: IncomingMessage): boolean => headers.origin?.startsWith('https://') === true;

function cookieOf(request: IncomingMessage, secret: string, maxAgeMs: number): string {
  const attributes = `Path=/; HttpOnly; SameSite=Strict; Max-Age=${maxAgeMs / 1000}`;
  return isOverTls(request)
    ? `${SECURE_NAME}=${secret}; ${attributes}; Secure`
    : `${PLAIN_NAME}=${secret}; ${attributes}`;
}

/** Sessions of people in a browser: a random secret in a cookie that no script can read, bound to a token. */
export class BrowserSessions {
  readonly #catalog: Catalog;
  readonly #tokens: TokenCheck;
  readonly #codes: SignInCodes;
  readonly #clock: Clock;

  constructor(parts: { catalog: Catalog; clock: Clock; signInCodes: SignInCodes }, tokens: TokenCheck) {
    this.#catalog = parts.catalog;
    this.#clock = parts.clock;
    this.#codes = parts.signInCodes;
    this.#tokens = tokens;
  }

  /** The caller of a request: the holder of its bearer token, or else of its session. Throws UNAUTHENTICATED, FORBIDDEN. */
  async actorOf(request: IncomingMessage): Promise<Actor> {
    const { authorization, cookie } = request.headers;
    if (authorization !== undefined || secretOf(cookie) === undefined) return await this.#tokens.actorOf(authorization);
    if (!isSameOrigin(request.headers))
      throw new Failure('FORBIDDEN', 'the request was sent by a page of another site', {
        remedy: 'Open the dashboard itself. Scripts send a token in the Authorization header.',
      });
    const actor = await this.current(request);
    if (actor === null) throw new Failure('UNAUTHENTICATED', 'the session has ended');
    return actor;
  }

  /** The holder of the session of a request; null without a valid one. */
  async current(request: IncomingMessage): Promise<Actor | null> {
    const secret = secretOf(request.headers.cookie);
    const found = secret === undefined ? undefined : await this.#catalog.browserSessions.byHash(tokenHash(secret));
    if (found === undefined || found.session.expiresAt < this.#clock.now()) return null;
    try {
      return this.#tokens.actorOfRecord(found.token);
    } catch (error) {
      if (error instanceof Failure && error.code === 'UNAUTHENTICATED') return null;
      throw error;
    }
  }

  /** Opens a session; gives its cookie. Throws UNAUTHENTICATED for a wrong token or code. */
  async open(request: IncomingMessage, signIn: SignIn): Promise<{ actor: Actor; cookie: string }> {
    const actor = await this.#actorOfSignIn(signIn);
    const secret = randomBytes(32).toString('base64url');
    const now = this.#clock.now();
    const session = { hash: tokenHash(secret), tokenId: actor.tokenId, createdAt: now, expiresAt: now + SESSION_MS };
    const entry = { at: now, actor: actor.name, action: 'session.open', subject: actor.name, detail: '' };
    await this.#catalog.commit([
      { type: 'session.open', session },
      { type: 'audit', entry },
    ]);
    return { actor, cookie: cookieOf(request, secret, SESSION_MS) };
  }

  async #actorOfSignIn(signIn: SignIn): Promise<Actor> {
    if ('token' in signIn) return await this.#tokens.actorOf(`Bearer ${signIn.token}`);
    const tokenId = this.#codes.redeem(signIn.code);
    if (tokenId === undefined) throw new Failure('UNAUTHENTICATED', 'the sign-in link is unknown, used or expired');
    return this.#tokens.actorOfRecord(await this.#catalog.tokens.byId(tokenId));
  }

  /** Ends the session of a request; gives the cookie that removes it from the browser. */
  async close(request: IncomingMessage): Promise<string> {
    const secret = secretOf(request.headers.cookie);
    const actor = await this.current(request);
    if (secret !== undefined && actor !== null) {
      const entry = {
        at: this.#clock.now(),
        actor: actor.name,
        action: 'session.close',
        subject: actor.name,
        detail: '',
      };
      await this.#catalog.commit([
        { type: 'session.close', hash: tokenHash(secret) },
        { type: 'audit', entry },
      ]);
    }
    return cookieOf(request, '', 0);
  }
}
