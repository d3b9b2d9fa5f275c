import { readFile } from 'node:fs/promises';
import { Redis } from 'ioredis';
import pg from 'pg';
import { loginOf, readSettings } from './site-settings.ts';

/** Rebuilds the velocity counters of Redis from the orders of PostgreSQL. Argument: the settings file of the site. */
const settings = await readSettings(process.argv[2] ?? '');
const client = new pg.Client(await loginOf(settings));
await client.connect();
const { rows } = await client.query<{ id: string }>('select id from orders');
await client.end();
const password = (await readFile(settings.redis.passwordFile, 'utf8')).trim();
const redis = new Redis({ path: settings.redis.socket, password });
await redis.mset(...rows.flatMap(({ id }) => [`velocity:${id}`, '1']));
redis.disconnect();
