import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { adminRouter, agentRouter, LIMITS, type WireError } from '@lastgood/protocol';
import { TRPCError } from '@trpc/server';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { applyWSSHandler } from '@trpc/server/adapters/ws';
import { type WebSocket, WebSocketServer } from 'ws';
import { AdminService } from '../api/admin-service.ts';
import { authenticate } from '../api/tokens.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { AgentAuth } from '../fleet/agent-auth.ts';
import { enrol } from '../fleet/enrolment.ts';
import type { Fleet } from '../fleet/fleet.ts';
import { Session } from '../fleet/session.ts';
import type { Log } from '../log.ts';
import { VERSION } from '../version.ts';

const MAX_BODY = 256 * 1024;
const ENROL_PER_MINUTE = 600;
const STATUS: Partial<Record<WireError['code'], number>> = {
  BAD_INPUT: 400,
  ENROL_TOKEN_INVALID: 403,
  PROTOCOL_UNSUPPORTED: 426,
  BUG: 500,
};

export interface HttpParts {
  readonly catalog: Catalog;
  readonly fleet: Fleet;
  readonly clock: Clock;
  readonly log: Log;
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response
    .writeHead(status, {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
    })
    .end(JSON.stringify(body));
}

async function jsonBody(request: IncomingMessage): Promise<unknown> {
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

/** The doors of the control plane: people on /trpc, agents on /agent and /enroll, load balancers on /healthz. */
export class HttpServer {
  readonly #parts: HttpParts;
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: LIMITS.frameBytes,
    perMessageDeflate: false,
    clientTracking: true,
  });
  readonly #auth: AgentAuth;
  readonly #sessions = new WeakMap<IncomingMessage, (socket: WebSocket) => Session>();
  #enrolments: { minute: number; count: number } = { minute: 0, count: 0 };

  constructor(parts: HttpParts) {
    this.#parts = parts;
    this.#auth = new AgentAuth(parts.clock, (agentId) => parts.fleet.agent(agentId));
    const admin = createHTTPHandler({
      router: adminRouter,
      basePath: '/trpc/',
      maxBodySize: MAX_BODY,
      createContext: async ({ req }) => {
        try {
          const actor = await authenticate(req.headers.authorization, parts.catalog, parts.clock);
          return { scope: actor.scope, api: new AdminService(parts.catalog, parts.fleet, parts.clock, actor) };
        } catch (error) {
          throw new TRPCError({
            code: error instanceof Failure ? 'UNAUTHORIZED' : 'INTERNAL_SERVER_ERROR',
            cause: error,
          });
        }
      },
      onError: ({ error, path }) => this.#logUnexpected(error.cause, path ?? ''),
    });
    this.#server = createServer({ requestTimeout: 60_000, headersTimeout: 20_000 }, (request, response) => {
      this.#route(request, response, admin).catch((error: unknown) => {
        this.#logUnexpected(error, request.url ?? '');
        const wire = toWireError(error);
        if (!response.headersSent) answer(response, STATUS[wire.code] ?? 503, { error: wire });
        else response.destroy();
      });
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
    applyWSSHandler({
      wss: this.#sockets,
      router: agentRouter,
      createContext: ({ req, res }) => {
        const make = this.#sessions.get(req);
        if (make === undefined) throw new TRPCError({ code: 'UNAUTHORIZED' });
        const session = make(res as WebSocket);
        return { session, throttle: session.throttle };
      },
      keepAlive: { enabled: true, pingMs: 30_000, pongWaitMs: 15_000 },
      onError: ({ error, path }) => this.#logUnexpected(error.cause, path ?? ''),
    });
  }

  #logUnexpected(cause: unknown, path: string): void {
    if (cause === undefined || cause instanceof Failure || (cause instanceof Error && cause.name === 'ZodError'))
      return;
    this.#parts.log.error(
      { path, error: cause instanceof Error ? (cause.stack ?? cause.message) : String(cause) },
      'unexpected error',
    );
  }

  async #route(
    request: IncomingMessage,
    response: ServerResponse,
    admin: (request: IncomingMessage, response: ServerResponse) => void,
  ): Promise<void> {
    const { pathname } = new URL(request.url ?? '/', 'http://control');
    if (pathname.startsWith('/trpc/')) return admin(request, response);
    if (pathname === '/healthz' && request.method === 'GET') {
      await this.#parts.catalog.incarnation();
      const online = this.#parts.fleet.members().filter(({ session }) => session?.alive).length;
      return answer(response, 200, {
        status: 'ok',
        version: VERSION,
        agents: { enrolled: this.#parts.fleet.members().length, online },
      });
    }
    if (pathname === '/enroll' && request.method === 'POST') {
      if (!this.#mayEnrol())
        return answer(response, 429, {
          error: toWireError(new Failure('CONFLICT', 'too many enrolments; wait a minute')),
        });
      const { catalog, fleet, clock } = this.#parts;
      return answer(response, 200, await enrol(await jsonBody(request), catalog, fleet, clock));
    }
    return answer(response, 404, { error: toWireError(new Failure('NOT_FOUND', 'there is nothing here')) });
  }

  /** Bounds guessing of tokens; a fleet that is installed at once stays below it. */
  #mayEnrol(): boolean {
    const minute = Math.floor(this.#parts.clock.monotonic() / 60_000);
    if (minute !== this.#enrolments.minute) this.#enrolments = { minute, count: 0 };
    this.#enrolments.count += 1;
    return this.#enrolments.count <= ENROL_PER_MINUTE * 5;
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refuse = (status: number, reason: string): void => {
      const now = this.#parts.clock.now();
      socket.end(
        `HTTP/1.1 ${status} Refused\r\nconnection: close\r\nx-reason: ${reason}\r\nx-lastgood-time: ${now}\r\ncontent-length: 0\r\n\r\n`,
      );
    };
    socket.on('error', () => socket.destroy());
    if (new URL(request.url ?? '/', 'http://control').pathname !== '/agent') return refuse(404, 'path');
    // Browsers send an origin, agents never do: a page must not reach this door with a visitor's network position.
    if (request.headers.origin !== undefined) return refuse(403, 'origin');
    const admission = this.#auth.admit(request);
    if (!admission.ok) return refuse(admission.status, admission.reason);
    const { fleet, catalog, clock } = this.#parts;
    this.#sessions.set(request, (opened) => new Session(admission.agent.agentId, opened, fleet, catalog, clock));
    this.#sockets.handleUpgrade(request, socket, head, (opened) => {
      opened.on('error', () => opened.terminate());
      this.#sockets.emit('connection', opened, request);
    });
  }

  /** Listens; resolves with the port. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port, backlog: 4096 });
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    for (const socket of this.#sockets.clients) setTimeout(() => socket.terminate(), 500).unref();
    setTimeout(() => this.#server.closeAllConnections(), 1_000).unref();
    await closed;
  }
}
