import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { noSteps } from '@lastgood/core';
import { createPostgresEngine, postgresMethods } from '@lastgood/engines/postgres';
import { captureTool, systemClock, uuidv7 } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { type PostgresServer, root, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const never = new AbortController().signal;
const ref = { environment: 'prod', host: 'db-1', target: 'shop' };

const zstd = ['/usr/bin/zstd', '/usr/local/bin/zstd'].some((file) => existsSync(file));

/** The lines of the page between its marks: what a person would paste. */
function linesOf(section: string): string {
  const page = readFileSync(join(root, 'docs/repository-format.md'), 'utf8');
  const lines = new RegExp(`<!-- ${section} -->\\n\`\`\`sh\\n([\\s\\S]*?)\`\`\``).exec(page)?.[1];
  if (lines === undefined) throw new TypeError(`the page has no section ${section}`);
  return lines;
}

async function shell(server: PostgresServer, script: string, env: Record<string, string>): Promise<string> {
  const path = `${server.binDir}:${process.env['PATH'] ?? ''}`;
  const to = { PGHOST: server.host, PGPORT: String(server.port), PGUSER: server.user, PGPASSFILE: server.passfile };
  const call = { file: 'bash', args: ['-c', `set -euo pipefail\n${script}`], signal: never, timeoutMs: 120_000 };
  return (await captureTool({ ...call, env: { ...env, ...to, PATH: path } })).stdout;
}

/** The database as text, without the random key of \restrict. */
async function asText(server: PostgresServer): Promise<string[]> {
  const text = await shell(server, 'pg_dump --dbname=shop', {});
  return text.replace(/^\\(un)?restrict .*$/gm, '').split('\n');
}

test.skipIf(!zstd)(
  'the stock commands of the page bring a database back on a fresh server, without Lastgood (needs zstd)',
  async () => {
    // The globals carry the password of the superuser over.
    await using source = await startPostgres({ superuserPassword: 'the same' });
    await using fresh = await startPostgres({ superuserPassword: 'the same' });
    await using folder = await temporaryFolder();
    await seedShop(source, 'shop', { rows: 1_000 });
    const path = join(folder.path, 'repository');
    const repository = await createFolderRepository({ understood: postgresMethods, path });
    const backupId = uuidv7();
    const writer = await repository.begin(
      {
        ref,
        backupId,
        jobId: uuidv7(),
        attempt: 1,
        engine: 'postgres',
        startedAt: new Date().toISOString(),
        lastgoodVersion: '0.1.0',
      },
      'source',
    );
    const context = {
      workDir: folder.path,
      signal: never,
      clock: systemClock,
      steps: noSteps,
      progress: () => undefined,
      log: () => undefined,
    };
    const engine = createPostgresEngine(source.connection);
    const facts = await engine.backup({ method: 'logical', contents: ['shop'], options: {} }, writer, context);
    await writer.publish(facts, new Date().toISOString());

    const place = { REPOSITORY: path, ENVIRONMENT: 'prod', HOST: 'db-1', TARGET: 'shop', BACKUP: backupId };
    const checked = await shell(fresh, linesOf('check'), place);
    expect(checked).toContain('"contents":"shop"\n"name":"data/0001.dump.zst"\n"role":"dump"');
    expect(checked).toContain('"contents":null\n"name":"data/0004.sql.zst"\n"role":"globals"');
    expect(checked.match(/: OK$/gm)).toHaveLength(4);

    await shell(fresh, `${linesOf('check')}\n${linesOf('restore')}`, place);
    expect(await asText(fresh)).toEqual(await asText(source));
  },
);

test.skipIf(!zstd)('the check of the page notices a damaged byte', async () => {
  await using server = await startPostgres();
  const script = `mkdir -p "$REPOSITORY/$ENVIRONMENT/$HOST/$TARGET/backups/$BACKUP/data"
    cd "$REPOSITORY/$ENVIRONMENT/$HOST/$TARGET/backups/$BACKUP"
    printf 'damaged' > data/0001.dump.zst
    printf '{"objects":[{"compression":"zstd","name":"data/0001.dump.zst","stored":{"sha256":"%064d","size":7}}]}' 0 > manifest.json`;
  await using folder = await temporaryFolder();
  const place = { REPOSITORY: folder.path, ENVIRONMENT: 'e', HOST: 'h', TARGET: 't', BACKUP: 'b' };
  await expect(shell(server, `${script}\n${linesOf('check')}`, place)).rejects.toMatchObject({ code: 'TOOL_FAILED' });
});
