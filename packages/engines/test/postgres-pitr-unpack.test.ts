import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { temporaryFolder } from '@lastgood/testkit';
import { describe, expect, test } from 'vitest';
import { unpackServer } from '../src/postgres/point-in-time/unpack.ts';
import { codeOf } from './support/engine-harness.ts';
import { tarOf } from './support/tar.ts';

const never = new AbortController().signal;

describe('unpacking', () => {
  const unpack = async (
    folder: string,
    archives: { oid: string | null; location: string | null; entries: Parameters<typeof tarOf>[0] }[],
    limitBytes = 1_000_000,
  ): Promise<string> =>
    await codeOf(
      unpackServer(
        (async function* () {
          for (const { oid, location, entries } of archives)
            yield {
              tablespaceOid: oid,
              location,
              content: (async function* () {
                yield tarOf(entries);
              })(),
            };
        })(),
        {
          dataFolder: join(folder, 'data'),
          tablespaceFolder: (oid) => join(folder, 'spaces', oid),
          owner: null,
          limitBytes,
          signal: never,
          onBytes: () => undefined,
        },
      ),
    );
  test('F6: links of an archive are not made, and signal files and the map are gone', async () => {
    await using folder = await temporaryFolder();
    const entries = [
      { path: 'pg_tblspc/16400/', type: '2', linkTarget: '/etc' },
      { path: 'tablespace_map', content: Buffer.from('16400 /somewhere\n') },
      { path: 'standby.signal' },
      { path: 'recovery.signal' },
      { path: 'PG_VERSION', content: Buffer.from('15\n') },
    ];
    const space = { oid: '16400', location: '/somewhere', entries: [{ path: 'PG_15/5/1', content: Buffer.from('x') }] };
    expect(await unpack(folder.path, [space, { oid: null, location: null, entries }])).toBe('nothing was refused');
    expect((await readdir(join(folder.path, 'data'))).toSorted()).toEqual(['PG_VERSION', 'pg_tblspc']);
    expect(await readlink(join(folder.path, 'data/pg_tblspc/16400'))).toBe(join(folder.path, 'spaces/16400'));
    expect((await stat(join(folder.path, 'data/PG_VERSION'))).mode & 0o777).toBe(0o600);
  });
  test('a tablespace inside the data folder stays there', async () => {
    await using folder = await temporaryFolder();
    const space = {
      oid: '16400',
      location: 'pg_tblspc/16400',
      entries: [{ path: 'PG_15/5/1', content: Buffer.from('x') }],
    };
    expect(await unpack(folder.path, [space, { oid: null, location: null, entries: [{ path: 'PG_VERSION' }] }])).toBe(
      'nothing was refused',
    );
    expect(await readFile(join(folder.path, 'data/pg_tblspc/16400/PG_15/5/1'), 'utf8')).toBe('x');
  });
  test.for([
    ['a tablespace without its archive', [{ path: 'tablespace_map', content: Buffer.from('16400 /somewhere\n') }]],
    ['F6: a file twice', [{ path: 'a', content: Buffer.from('x') }, { path: 'a' }]],
    ['F6: a path outside', [{ path: '../a' }]],
    ['F6: more than there can be', [{ path: 'a', content: Buffer.alloc(2_000_000) }]],
  ] as const)('%s is refused', async ([, entries], { expect }) => {
    await using folder = await temporaryFolder();
    const code = await unpack(folder.path, [{ oid: null, location: null, entries: [...entries] }]);
    expect(['BACKUP_CORRUPT', 'REPOSITORY_UNSAFE']).toContain(code);
  });
});
