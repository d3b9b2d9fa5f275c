import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { Failure } from '@lastgood/core';
import pg from 'pg';
import type { PostgresConnection } from './connection-schema.ts';

export type Tls = false | ConnectionOptions;

/** The files of libpq: where its variable leads, or in the home folder. */
const fileOf = async (variable: string, name: string): Promise<string | undefined> =>
  await readFile(process.env[variable] ?? join(homedir(), '.postgresql', name), 'utf8').catch(() => undefined);

/** How to connect, in the order in which it is to be tried, as libpq does for the same sslmode. A socket carries no TLS. */
export async function waysOf({ sslmode, host }: PostgresConnection): Promise<readonly [Tls, ...Tls[]]> {
  if (host.startsWith('/') || sslmode === 'disable') return [false];
  const [cert, key] = [await fileOf('PGSSLCERT', 'postgresql.crt'), await fileOf('PGSSLKEY', 'postgresql.key')];
  const shown = cert === undefined || key === undefined ? {} : { cert, key };
  const unchecked = { ...shown, rejectUnauthorized: false };
  if (sslmode === 'prefer') return [unchecked, false];
  if (sslmode === 'require') return [unchecked];
  const ca = await fileOf('PGSSLROOTCERT', 'root.crt');
  if (ca === undefined && process.env['PGSSLROOTCERT'] !== 'system')
    throw new Failure('CONFIG_INVALID', `sslmode ${sslmode} needs the certificate of the authority: PGSSLROOTCERT`);
  const checked = { ...shown, rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) };
  // Only verify-full asks whether the certificate is that of this host.
  return [sslmode === 'verify-ca' ? { ...checked, checkServerIdentity: () => undefined } : checked];
}

const UNREACHABLE = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Whether a server that took no TLS may take a connection without it: not one that is unreachable, nor one that refused the role. */
export function mayTakeAnotherWay(error: unknown): boolean {
  if (error instanceof Failure) return false;
  if (error instanceof pg.DatabaseError) return error.code === '28000';
  if (error instanceof AggregateError || !(error instanceof Error)) return false;
  return !('code' in error && UNREACHABLE.has(String(error.code)));
}
