import { createServer } from 'node:http';
import pg from 'pg';
import { loginOf, readSettings } from './site-settings.ts';

/**
 * A small application over PostgreSQL: `GET /actuator/health` reports whether its schema can be read, `POST /orders` makes an order and takes
 * it back. Argument: the settings file of the site.
 */
const settings = await readSettings(process.argv[2] ?? '');
const login = await loginOf(settings);

async function query(...statements: string[]): Promise<void> {
  const client = new pg.Client(login);
  client.on('error', () => undefined);
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

createServer(async (request, response) => {
  const answer = (status: number, body: object): void =>
    void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  try {
    if (request.method === 'POST' && request.url === '/orders') {
      await query('begin', "insert into orders (customer) values ('sample')", 'rollback');
      return answer(201, { accepted: true });
    }
    await query('select version from flyway_schema_history');
    answer(200, { status: 'UP', components: { db: { status: 'UP' } } });
  } catch {
    answer(503, { status: 'DOWN' });
  }
}).listen(settings.applicationPort, '127.0.0.1');
