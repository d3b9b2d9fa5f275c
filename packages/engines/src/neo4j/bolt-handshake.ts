import { connect } from 'node:net';

/** A zero, a range of versions, minor and major version; or the number of a later handshake that lists versions. */
const isVersion = (answer: Buffer): boolean =>
  answer.length >= 4 &&
  ((answer[0] === 0 && (answer[3] ?? 0) > 0 && (answer[3] ?? 0) < 0x20) || answer.readUInt32BE(0) === 0x1ff);

/** The magic of Bolt and four ranges of versions: 5.8 down to 5.0, 4.4 down to 4.1, 3. */
const HELLO = Buffer.from('6060b01700080805000304040000000300000000', 'hex');

export type BoltAnswer =
  /** The server speaks Bolt. */
  | 'bolt'
  /** Nothing listens there. */
  | 'refused'
  /** The host cannot be reached or does not respond. */
  | 'unreachable'
  /** Something else listens there, or a server that requires TLS. */
  | 'not-bolt';

/** Connects without logging in, to distinguish why a server cannot be used. Never throws but the reason of the signal. */
export async function pingBolt(
  host: string,
  port: number,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<BoltAnswer> {
  signal.throwIfAborted();
  const socket = connect({ host, port });
  try {
    return await new Promise<BoltAnswer>((resolve, reject) => {
      const abort = (): void => reject(signal.reason);
      signal.addEventListener('abort', abort, { once: true });
      socket.once('close', () => signal.removeEventListener('abort', abort));
      socket.setTimeout(timeoutMs, () => resolve('unreachable'));
      socket.once('connect', () => socket.write(HELLO));
      socket.once('data', (version: Buffer) => resolve(isVersion(version) ? 'bolt' : 'not-bolt'));
      socket.once('end', () => resolve('not-bolt'));
      socket.once('error', (error: NodeJS.ErrnoException) =>
        resolve(error.code === 'ECONNREFUSED' ? 'refused' : error.code === 'ECONNRESET' ? 'not-bolt' : 'unreachable'),
      );
    });
  } finally {
    socket.destroy();
  }
}
