/**
 * A small server for tests of service control: listens on an address and returns PONG. Arguments: its folder and its address (a port of
 * 127.0.0.1 or the path of a socket). The file `mode` in the folder selects its behavior.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';

/** `mute`: never responds. `deaf`: ignores SIGTERM. `lingers`: ends after SIGTERM once the file `release` exists. `crashes`: exits with 1. */
export type ServerMode = 'normal' | 'mute' | 'deaf' | 'lingers' | 'crashes';

const isPort = (address: string): boolean => /^\d+$/.test(address);
/** Where to listen or connect. */
export const target = (address: string) =>
  isPort(address) ? { host: '127.0.0.1', port: Number(address) } : { path: address };

function serve(folder: string, address: string): void {
  const mode = existsSync(join(folder, 'mode')) ? readFileSync(join(folder, 'mode'), 'utf8') : 'normal';
  if (mode === 'crashes') process.exit(1);
  writeFileSync(join(folder, 'environment.json'), JSON.stringify(process.env));
  if (!isPort(address)) rmSync(address, { force: true });
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    if (mode !== 'mute') socket.once('data', () => socket.end('PONG'));
  });
  server.listen(target(address));
  process.on('SIGTERM', () => {
    writeFileSync(join(folder, 'stopping'), '');
    if (mode === 'deaf') return;
    if (mode !== 'lingers') process.exit(0);
    setInterval(() => existsSync(join(folder, 'release')) && process.exit(0), 20);
  });
}
if (import.meta.main) serve(process.argv[2] ?? '', process.argv[3] ?? '');
