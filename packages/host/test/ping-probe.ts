import { connect } from 'node:net';
import { Failure, type ReadinessProbe } from '@lastgood/core';
import { target } from './ping-server.ts';

/** A probe for the server at an address: true after PONG, false when nothing listens there. */
export function pingProbe(address: string): ReadinessProbe {
  return (signal) =>
    new Promise((resolve, reject) => {
      const socket = connect({ ...target(address), signal });
      socket.once('connect', () => socket.write('PING'));
      socket.once('data', (data) => {
        socket.destroy();
        resolve(data.toString() === 'PONG');
      });
      socket.once('error', (error: NodeJS.ErrnoException) => {
        if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false);
        else reject(new Failure('DATABASE_UNREACHABLE', `the server does not respond (${error.code})`));
      });
    });
}
