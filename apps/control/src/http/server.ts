import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { type Clock, Failure, toWireError } from '@lastgood/core';
import { adminRouter, agentRouter, CLOSE, LIMITS, type WireError } from '@lastgood/protocol';
import { TRPCError } from '@trpc/server';
import { createHTTPHandler } from '@trpc/server/adapters/standalone';
import { getWSConnectionHandler } from '@trpc/server/adapters/ws';
import { getHTTPStatusCodeFromError } from '@trpc/server/http';
import { type ServerOptions, type WebSocket, WebSocketServer } from 'ws';
import { createAdminApi } from '../api/admin-api.ts';
import type { SignInCodes } from '../api/sign-in-codes.ts';
import { TokenCheck } from '../api/token-check.ts';
import type { Catalog } from '../catalog/catalog.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import { enroll } from '../enrollment/enroll.ts';
import type { ControlLimits } from '../limits.ts';
import type { Log } from '../log.ts';
import { renderMetrics } from '../metrics/fleet-metrics.ts';
import type { JobCounter } from '../metrics/job-counter.ts';
import type { Planner } from '../planner/planner.ts';
import type { RunbookRunner } from '../runbooks/runbook-runner.ts';
import { AgentAuth } from '../sessions/agent-auth.ts';
import { AgentRates } from '../sessions/agent-rates.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';
import { validatingCodec } from '../sessions/frame-validation.ts';
import { Session } from '../sessions/session.ts';
import { VERSION } from '../version.ts';
import { BrowserSessions } from './browser-sessions.ts';
import { Connections } from './connections.ts';
import type { DashboardFiles } from './dashboard-files.ts';
import { answer, jsonBody, MAX_BODY } from './json.ts';
import { SessionRoutes } from './session-routes.ts';

/** So long a refused connection may take to read why. */
const REFUSED_MS = 1_000;
const STATUS: Partial<Record<WireError['code'], number>> = {
  BAD_INPUT: 400,
  NOT_FOUND: 404,
  CONFLICT: 409,
  ENROLL_TOKEN_INVALID: 403,
  PROTOCOL_UNSUPPORTED: 426,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  BUG: 500,
};

/** What may be done where, beside the calls below /trpc/, each of which knows its own. */
const METHODS: ReadonlyMap<string, readonly string[]> = new Map([
  ['/healthz', ['GET', 'HEAD']],
  ['/enroll', ['POST']],
  ['/metrics', ['GET']],
  ['/session', ['GET', 'POST', 'DELETE']],
]);

/** Every limit is set, for none has a safe default; the types of the library do not know the newer ones yet. */
const SOCKET_OPTIONS: ServerOptions & { maxFragments: number; maxBufferedChunks: number; closeTimeout: number } = {
  noServer: true,
  maxPayload: LIMITS.frameBytes,
  maxFragments: 64,
  maxBufferedChunks: 4_096,
  closeTimeout: 2_000,
  perMessageDeflate: false,
  clientTracking: true,
};

/** What a call is answered whose token could not be accepted, or not be looked up. */
function statusOfRefusal(
  error: unknown,
): 'UNAUTHORIZED' | 'FORBIDDEN' | 'SERVICE_UNAVAILABLE' | 'INTERNAL_SERVER_ERROR' {
  if (!(error instanceof Failure)) return 'INTERNAL_SERVER_ERROR';
  if (error.code === 'FORBIDDEN') return 'FORBIDDEN';
  return error.code === 'UNAUTHENTICATED' ? 'UNAUTHORIZED' : 'SERVICE_UNAVAILABLE';
}

export interface HttpParts {
  readonly catalog: Catalog;
  readonly ledgers: LedgerStore;
  readonly registry: AgentRegistry;
  readonly planner: Planner;
  readonly runbooks: RunbookRunner;
  readonly jobCounter: JobCounter;
  readonly channels: ReadonlySet<string>;
  readonly signInCodes: SignInCodes;
  /** Null when the dashboard was not built. */
  readonly dashboard: DashboardFiles | null;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ControlLimits;
}

/** The doors of the control plane: people on /trpc, agents on /agent and /enroll, load balancers on /healthz. */
export class HttpServer {
  readonly #parts: HttpParts;
  readonly #rates: AgentRates;
  readonly #server: Server;
  readonly #sockets = new WebSocketServer(SOCKET_OPTIONS);
  readonly #auth: AgentAuth;
  readonly #tokens: TokenCheck;
  readonly #sessionRoutes: SessionRoutes;
  readonly #connections: Connections;
  readonly #connectionsOf = new Map<string, number>();
  #closing = false;
  #enrollments: { minute: number; count: number } = { minute: 0, count: 0 };

  constructor(parts: HttpParts) {
    this.#parts = parts;
    this.#rates = new AgentRates(parts.limits.agentRates, parts.clock);
    this.#auth = new AgentAuth(parts.clock, (agentId) => parts.registry.agent(agentId));
    const tokens = new TokenCheck(parts.catalog, parts.clock);
    this.#tokens = tokens;
    const sessions = new BrowserSessions(parts, tokens);
    this.#sessionRoutes = new SessionRoutes(sessions, parts.clock, parts.limits.failedSignInsPerMinute);
    const admin = createHTTPHandler({
      router: adminRouter,
      basePath: '/trpc/',
      maxBodySize: MAX_BODY,
      maxBatchSize: 32,
      createContext: async ({ req }) => {
        try {
          const actor = await sessions.actorOf(req);
          this.#connections.markAuthenticated(req.socket);
          return { scope: actor.scope, api: createAdminApi({ ...parts, actor }) };
        } catch (error) {
          throw new TRPCError({ code: statusOfRefusal(error), cause: error });
        }
      },
      // What the transport refuses with less than 500 (an address or an input that is none) is the caller's doing.
      onError: ({ error, path }) =>
        getHTTPStatusCodeFromError(error) >= 500 && this.#logUnexpected(error.cause, path ?? ''),
    });
    const { helloMs, unauthenticated } = parts.limits;
    const timeouts = { requestTimeout: 60_000, headersTimeout: helloMs, connectionsCheckingInterval: helloMs / 2 };
    this.#server = createServer(timeouts, (request, response) => {
      this.#route(request, response, admin).catch((error: unknown) => {
        this.#logUnexpected(error, request.url ?? '');
        const wire = toWireError(error);
        if (!response.headersSent) answer(response, STATUS[wire.code] ?? 503, { error: wire });
        else response.destroy();
      });
    });
    this.#connections = new Connections(this.#server, unauthenticated);
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
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
    // Not parsed as a URL, because a client may send anything.
    const pathname = request.url?.split('?', 1)[0] ?? '';
    if (pathname.startsWith('/trpc/')) return admin(request, response);
    const allowed = METHODS.get(pathname);
    if (allowed !== undefined && !allowed.includes(request.method ?? '')) {
      response.setHeader('allow', allowed.join(', '));
      const failure = new Failure('BAD_INPUT', `${request.method} is not for ${pathname}, ${allowed.join(' and ')} is`);
      return answer(response, 405, { error: toWireError(failure) });
    }
    if (pathname === '/healthz') return await this.#health(response);
    if (pathname === '/metrics') return await this.#metrics(request, response);
    if (pathname === '/session') return await this.#sessionRoutes.handle(request, response);
    if (pathname === '/enroll') {
      if (!this.#mayEnrol())
        return answer(response, 429, {
          error: toWireError(
            new Failure('CONFLICT', 'too many enrollments in this minute', {
              remedy: 'Wait a minute, then repeat the enrollment.',
            }),
          ),
        });
      const { catalog, registry, clock } = this.#parts;
      return answer(response, 200, await enroll(await jsonBody(request), catalog, registry, clock));
    }
    if ((await this.#parts.dashboard?.serve(request, response, pathname)) === true) return;
    const remedy =
      'Calls go to /trpc/, agents to /agent and /enroll, health checks to /healthz, Prometheus to /metrics.';
    return answer(response, 404, { error: toWireError(new Failure('NOT_FOUND', 'there is nothing here', { remedy })) });
  }

  /** 503 while nothing can be written: reads are served, but nothing is promised to anybody. */
  async #health(response: ServerResponse): Promise<void> {
    const { catalog, registry } = this.#parts;
    await catalog.incarnation();
    const failing = await catalog.failing();
    const agents = registry.list();
    const online = agents.filter(({ session }) => session?.alive).length;
    const about = { version: VERSION, agents: { enrolled: agents.length, online } };
    if (failing === null) return answer(response, 200, { status: 'ok', ...about });
    return answer(response, 503, { status: 'failing', error: toWireError(failing), ...about });
  }

  /** For Prometheus, which sends a token with the scope to read: the names of hosts and targets are not public. */
  async #metrics(request: IncomingMessage, response: ServerResponse): Promise<void> {
    await this.#tokens.actorOf(request.headers.authorization);
    this.#connections.markAuthenticated(request.socket);
    const text = await renderMetrics(this.#parts);
    response.writeHead(200, {
      'content-type': 'text/plain; version=0.0.4; charset=utf-8',
      'cache-control': 'no-store',
    });
    response.end(text);
  }

  /** Bounds guessing of tokens; a fleet that is installed at once stays below it. */
  #mayEnrol(): boolean {
    const minute = Math.floor(this.#parts.clock.monotonic() / 60_000);
    if (minute !== this.#enrollments.minute) this.#enrollments = { minute, count: 0 };
    this.#enrollments.count += 1;
    return this.#enrollments.count <= this.#parts.limits.enrollmentsPerMinute;
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const refuse = (status: number, reason: string): void => {
      const now = this.#parts.clock.now();
      socket.end(
        `HTTP/1.1 ${status} Refused\r\nconnection: close\r\nx-reason: ${reason}\r\nx-lastgood-time: ${now}\r\ncontent-length: 0\r\n\r\n`,
      );
      // It is read to its end, so that the answer arrives; who does not end its side is not waited for.
      socket.resume().once('end', () => socket.destroy());
      setTimeout(() => socket.destroy(), REFUSED_MS).unref();
    };
    socket.on('error', () => socket.destroy());
    if (this.#closing) return refuse(503, 'drain');
    // The whole of it: a query could ask the library to wait for a first message that never comes.
    if (request.url !== '/agent') return refuse(404, 'path');
    // Browsers send an origin, agents never do: a page must not reach this door with a visitor's network position.
    if (request.headers.origin !== undefined) return refuse(403, 'origin');
    const admission = this.#auth.admit(request);
    if (!admission.ok) return refuse(admission.status, admission.reason);
    const { agentId } = admission.agent;
    const { registry, limits } = this.#parts;
    if ((this.#connectionsOf.get(agentId) ?? 0) >= limits.connectionsPerAgent) return refuse(429, 'connections');
    this.#connections.markAuthenticated(socket);
    const connection = registry.nextConnection();
    this.#sockets.handleUpgrade(request, socket, head, (opened) => this.#open(agentId, connection, opened, request));
  }

  #open(agentId: string, connection: number, socket: WebSocket, request: IncomingMessage): void {
    this.#connectionsOf.set(agentId, (this.#connectionsOf.get(agentId) ?? 0) + 1);
    socket.once('close', () => {
      const left = (this.#connectionsOf.get(agentId) ?? 1) - 1;
      if (left > 0) this.#connectionsOf.set(agentId, left);
      else this.#connectionsOf.delete(agentId);
    });
    // After a broken frame the library has sent its close code; what is left of the connection ends soon.
    socket.on('error', () => setTimeout(() => socket.terminate(), 1_000).unref());
    const session = new Session({ agentId, connection }, socket, { ...this.#parts, rates: this.#rates });
    const serve = getWSConnectionHandler({
      wss: this.#sockets,
      router: agentRouter,
      createContext: () => ({ session, throttle: session.throttle }),
      experimental_encoder: validatingCodec((reason) => session.close(CLOSE.badFrame, reason)),
      keepAlive: { enabled: true, pingMs: 30_000, pongWaitMs: 15_000 },
      // A frame without a call is broken: the close code reports that to the client.
      onError: ({ error, path }) => path !== undefined && this.#logUnexpected(error.cause, path),
    });
    serve(socket, request);
  }

  /** Listens; resolves with the port. */
  async listen(host: string, port: number): Promise<number> {
    this.#server.listen({ host, port, backlog: 4096 });
    await once(this.#server, 'listening');
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : port;
  }

  async close(): Promise<void> {
    this.#closing = true;
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeIdleConnections();
    for (const socket of this.#sockets.clients) {
      socket.close(CLOSE.drain, 'the control plane stops');
      setTimeout(() => socket.terminate(), 500).unref();
    }
    setTimeout(() => this.#connections.destroy(), 1_000).unref();
    await closed;
  }
}
