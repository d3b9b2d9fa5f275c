import { connect } from 'node:net';
import type { CheckOutcome } from '@lastgood/core';
import { makeFinding } from '@lastgood/protocol';
import { z } from 'zod';

const CONNECT_MS = 10_000;

export const tcpCheckSchema = z.strictObject({
  host: z.string().min(1).max(255).default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
});

/** Opens a connection and closes it. */
export async function runTcpCheck(
  { host, port }: z.output<typeof tcpCheckSchema>,
  signal: AbortSignal,
): Promise<CheckOutcome> {
  const reason = await new Promise<string | null>((resolve) => {
    const socket = connect({ host, port, timeout: CONNECT_MS, signal });
    const end = (text: string | null): void => {
      socket.destroy();
      resolve(text);
    };
    socket.once('connect', () => end(null));
    socket.once('timeout', () => end(`no answer within ${CONNECT_MS / 1000} s`));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.name));
  });
  signal.throwIfAborted();
  const findings =
    reason === null ? [] : [makeFinding('CHECK_NO_CONNECTION', null, { what: `${host}:${port}`, reason })];
  return { findings, details: [] };
}
