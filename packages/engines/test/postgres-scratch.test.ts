import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startPostgres, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { EngineHarness } from './support/engine-harness.ts';

const root = process.getuid?.() === 0;

test.skipIf(!root)(
  `code of a restored database runs as nobody by default, not as the owner of the server${root ? '' : ' (needs root)'}`,
  async () => {
    await using server = await startPostgres();
    await using open = await temporaryFolder();
    await chmod(open.path, 0o777);
    await server.query('postgres', 'create database sly');
    const marker = join(open.path, 'marker');
    await writeFile(marker, '');
    await chmod(marker, 0o666);
    const tell = `copy (select 1) to program ''id -un >> ${marker}''`;
    await server.query(
      'sly',
      `create function f(int) returns boolean language plpgsql as
         $$ begin begin execute '${tell}'; exception when others then null; end; return true; end $$;
       create table t (a int check (f(a)))`,
    );
    await using bench = await EngineHarness.open(server, { scratchUser: undefined });
    await server.query('sly', 'insert into t values (1)');
    const { backupId } = await bench.backup({ databases: ['sly'] });
    await writeFile(marker, '');
    expect(await bench.verify(4, backupId)).toMatchObject({ reached: 4, findings: [] });
    expect(await readFile(marker, 'utf8')).toBe('nobody\n');
  },
);
