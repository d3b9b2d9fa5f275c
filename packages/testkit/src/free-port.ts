import { once } from 'node:events';
import { createServer } from 'node:net';
import { Bug } from '@lastgood/core';

/** Returns a port of 127.0.0.1 that was free when checked. Another process may take it. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Bug('a TCP server without a port');
  return address.port;
}

/** Whether another process listens on a port of 127.0.0.1. */
export async function isTaken(port: number): Promise<boolean> {
  const server = createServer().listen(port, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EADDRINUSE';
  }
  server.close();
  await once(server, 'close');
  return false;
}
