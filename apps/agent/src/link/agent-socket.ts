import type { ClientRequest, IncomingMessage } from 'node:http';
import { controlTimeSchema, LIMITS } from '@lastgood/protocol';
import { type ClientOptions, WebSocket } from 'ws';

/** The control plane answered the dial, and said no. */
export class Refused extends Error {
  readonly status: number;
  readonly reason: string;
  /** The control plane's clock, if it was received. */
  readonly controlTime: number | undefined;
  /** Where a redirect leads; null when it was none. */
  readonly location: string | null;
  constructor(status: number, reason: string, controlTime: number | undefined, location: string | null) {
    super(`refused with ${status} (${reason})`);
    this.location = location;
    this.name = 'Refused';
    this.status = status;
    this.reason = reason;
    this.controlTime = controlTime;
  }
}

/** A WebSocket that carries our identity in its upgrade, with every limit set: none of them has a safe default. */
export function agentSocketClass(headers: () => Record<string, string>): typeof WebSocket {
  return class AgentSocket extends WebSocket {
    constructor(address: string | URL, protocols?: string | string[]) {
      const options: ClientOptions & { closeTimeout: number } = {
        headers: headers(),
        perMessageDeflate: false,
        maxPayload: LIMITS.frameBytes,
        handshakeTimeout: 10_000,
        closeTimeout: 2_000,
        followRedirects: false,
      };
      super(address, protocols, options);
      this.on('unexpected-response', (request: ClientRequest, response: IncomingMessage) => {
        const time = controlTimeSchema.safeParse(Number(response.headers['x-lastgood-time'] ?? Number.NaN));
        const refused = new Refused(
          response.statusCode ?? 0,
          String(response.headers['x-reason'] ?? 'unknown').slice(0, 64),
          time.data,
          response.headers.location ?? null,
        );
        response.resume();
        this.emit('error', refused);
        request.destroy();
      });
    }
  } as typeof WebSocket;
}
