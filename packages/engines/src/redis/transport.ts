import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect as connectSocket, type Socket } from 'node:net';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { Failure } from '@lastgood/core';
import { cancellationOf } from '@lastgood/host';
import { addressOf, type RedisConnection } from './connection-schema.ts';

const TLS_REMEDY = 'Check the files of `tls` in the connection of the target, and that the certificate names the host.';

/** A connection that could not be made, or that ended: with the code of the transport, and without any text of the server. */
export class TransportFailure extends Failure {
  /** Of Node or OpenSSL, such as ECONNREFUSED; `closed` when the other side ended the connection. */
  readonly transportCode: string;
  constructor(address: string, what: string, error: unknown) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'closed';
    const isTls = /CERT|SSL|TLS|SIGNATURE/.test(code);
    super('DATABASE_UNREACHABLE', `${address}: ${what} failed (${code})`, isTls ? { remedy: TLS_REMEDY } : {});
    this.transportCode = code;
  }
}

/** The files of `tls`, read; undefined for a connection without TLS. Throws CONFIG_INVALID. */
export async function tlsOptions({ tls }: RedisConnection): Promise<ConnectionOptions | undefined> {
  if (tls === undefined) return undefined;
  const read = async (file: string): Promise<string> =>
    await readFile(file, 'utf8').catch((error: unknown) => {
      throw new Failure('CONFIG_INVALID', `the file ${file} of tls cannot be read`, { cause: error });
    });
  return {
    rejectUnauthorized: true,
    ...(tls.servername === undefined ? {} : { servername: tls.servername }),
    ...(tls.ca === undefined ? {} : { ca: await read(tls.ca) }),
    ...(tls.cert === undefined ? {} : { cert: await read(tls.cert) }),
    ...(tls.key === undefined ? {} : { key: await read(tls.key) }),
  };
}

/** How long a connection may take. */
export const CONNECT_MS = 15_000;

/** A connected socket, with TLS when the connection asks for it. Fails with DATABASE_UNREACHABLE, or what the signal was aborted with. */
export async function connectTransport(connection: RedisConnection, signal: AbortSignal): Promise<Socket> {
  const { socket: path, host = '', port } = connection;
  const tls = await tlsOptions(connection);
  const socket =
    path !== undefined
      ? connectSocket({ path })
      : tls === undefined
        ? connectSocket({ host, port })
        : connectTls({ host, port, ...tls });
  const timeout = AbortSignal.timeout(CONNECT_MS);
  try {
    await once(socket, tls === undefined ? 'connect' : 'secureConnect', { signal: AbortSignal.any([signal, timeout]) });
    return socket;
  } catch (error) {
    socket.destroy();
    if (signal.aborted) throw cancellationOf(signal, 'the connection');
    throw new TransportFailure(addressOf(connection), 'the connection', error);
  }
}
