import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { noSteps } from '@lastgood/core';
import { createPostgresEngine, postgresMethods } from '@lastgood/engines/postgres';
import { systemClock, uuidv7 } from '@lastgood/host';
import { createFolderRepository } from '@lastgood/repository';
import { root, seedShop, startPostgres, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { dumpShop, linesOf, runShell } from '../support/documented-commands.ts';

const never = new AbortController().signal;
const ref = { environment: 'prod', host: 'db-1', target: 'shop' };

const page = readFileSync(join(root, 'docs/repository-format.md'), 'utf8');
const zstd = ['/usr/bin/zstd', '/usr/local/bin/zstd'].some((file) => existsSync(file));

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
    const checked = await runShell(fresh, linesOf(page, 'check'), place);
    expect(checked).toContain('"contents":"shop"\n"name":"data/0001.dump.zst"\n"role":"dump"');
    expect(checked).toContain('"contents":null\n"name":"data/0004.sql.zst"\n"role":"globals"');
    expect(checked.match(/: OK$/gm)).toHaveLength(4);

    await runShell(fresh, `${linesOf(page, 'check')}\n${linesOf(page, 'restore')}`, place);
    expect(await dumpShop(fresh)).toEqual(await dumpShop(source));
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
  await expect(runShell(server, `${script}\n${linesOf(page, 'check')}`, place)).rejects.toMatchObject({
    code: 'TOOL_FAILED',
  });
});
