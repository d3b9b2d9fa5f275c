import { connect } from 'node:net';
import { join } from 'node:path';

/** What the server gave to a session so that another connection may cancel what it runs. */
export interface Backend {
  readonly pid: number;
  readonly secret: number;
}

const CANCEL_REQUEST = 80_877_102;
const PATIENCE_MS = 5_000;

/**
 * Asks the server to cancel what the backend runs: a backend that computes does not check its connection, and would go on for
 * hours after we left. The server answers nothing, and a request that gets lost is only late (`client_connection_check_interval`).
 */
export async function cancelBackend(host: string, port: number, { pid, secret }: Backend): Promise<void> {
  const request = Buffer.alloc(16);
  [request.length, CANCEL_REQUEST, pid, secret].forEach((value, index) => {
    request.writeInt32BE(value, index * 4);
  });
  const socket = host.startsWith('/') ? connect(join(host, `.s.PGSQL.${port}`)) : connect(port, host);
  await new Promise<void>((resolve) => {
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    // The server closes the connection when it has passed the request on.
    socket.on('error', () => undefined).on('close', () => resolve());
    socket.resume().end(request);
  });
}
