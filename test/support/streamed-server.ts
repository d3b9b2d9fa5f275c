import { chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { OPEN_LIMITS, type PostgresServer, startPrimary, temporaryFolder } from '@lastgood/testkit';
import { Fleet } from './fleet.ts';

/** A server with an empty table of orders and small WAL segments, so that many are written. */
export async function startOrdersPrimary(): Promise<PostgresServer> {
  const conf = 'synchronous_commit = on\nwal_keep_size = 0\nmin_wal_size = 2MB\nmax_wal_size = 8MB';
  const server = await startPrimary({ initdbArgs: ['--wal-segsize=1', '--data-checksums'], extraConf: conf });
  await server.query('postgres', 'create database shop');
  await server.query('shop', 'create table orders (id int primary key, item text)');
  return server;
}

/** A fleet that receives the WAL of the server, and the folder `drill` that its restores fill. */
export async function startStreamingFleet(
  server: Pick<PostgresServer, 'connection' | 'dataDir'>,
  cleanup: AsyncDisposableStack,
): Promise<{ fleet: Fleet; restores: string }> {
  const { path } = cleanup.use(await temporaryFolder());
  // The owner of a restore folder runs the restored server.
  const { uid, gid } = await stat(server.dataDir);
  const restores = join(path, 'restores');
  await mkdir(restores);
  for (const folder of [path, restores]) await chown(folder, uid, gid);
  const fleet = cleanup.use(
    await Fleet.start(path, server.connection, {
      settings: { stream: { switchSeconds: 2 } },
      restoreFolders: { drill: restores },
      allow: { restore: ['new', 'folder'], rotate: true, ...OPEN_LIMITS },
    }),
  );
  return { fleet, restores };
}
