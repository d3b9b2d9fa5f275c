import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { uuidv7 } from '@lastgood/host';
import { beforeAll, expect, test } from 'vitest';
import { asideName } from '../src/postgres/swap.ts';
import { codeOf, EngineHarness } from './support/engine-harness.ts';
import { usePostgres } from './support/use-postgres.ts';

const { server, harness } = await usePostgres();

beforeAll(async () => {
  await server.query('postgres', "create role own login password 'x'");
  await server.query('postgres', 'create database victim');
}, 120_000);

async function make(database: string, owner = 'own'): Promise<string> {
  await server.query('postgres', `create database ${database} owner ${owner}`);
  await server.query(database, 'create table t (a int)');
  return (await harness.backup({ databases: [database] })).backupId;
}
const ownersOf = async (pattern: string): Promise<Record<string, unknown>> =>
  Object.fromEntries(
    (
      await server.query(
        'postgres',
        'select datname, pg_get_userbyid(datdba) as o from pg_database where datname ~ $1',
        [pattern],
      )
    ).map((row) => [String(row['datname']), row['o']]),
  );
const noteOf = (restoreJobId: string, database: string): string =>
  `'${JSON.stringify({ lastgood: 'set aside', restoreJobId, database, comment: 'as it was' })}'`;

test('a database that is set aside belongs to the agent meanwhile, and undo gives it back to its owner with its grants', async () => {
  const backupId = await make('mine');
  await server.query('postgres', 'revoke all on database mine from public; grant connect on database mine to lg_super');
  const acl = () =>
    server.query(
      'postgres',
      "select array_agg(x::text order by x::text) as a from pg_database, unnest(datacl) x where datname = 'mine'",
    );
  const before = await acl();
  const { jobId, setAsideAs } = await harness.restore(backupId, { way: 'swap', database: 'mine' });
  expect(await ownersOf('^mine')).toEqual({ mine: 'own', [String(setAsideAs)]: 'lg_super' });
  await expect(
    server.queryAs('own', 'x', 'postgres', `comment on database "${setAsideAs}" is ${noteOf(jobId, 'victim')}`),
  ).rejects.toThrow('must be owner');
  await harness.engine.undo(jobId, await harness.context());
  expect(await ownersOf('^mine')).toEqual({ mine: 'own', [asideName('mine', 'undone', jobId)]: 'own' });
  expect(await acl()).toEqual(before);
});

test('a note that leads to another database than the one that was set aside is not followed', async () => {
  const { jobId, setAsideAs } = await harness.restore(await make('bait'), { way: 'swap', database: 'bait' });
  await server.query('postgres', `comment on database "${setAsideAs}" is ${noteOf(jobId, 'victim')}`);
  expect(await codeOf(harness.engine.undo(jobId, await harness.context()))).toBe('UNDO_IMPOSSIBLE');
  expect(await ownersOf('^victim')).toEqual({ victim: 'lg_super' });
});

test('what an older version set aside, with a note that names no owner, is undone in place of a database of the same owner', async () => {
  const jobId = uuidv7();
  const kept = asideName('elder', 'old', jobId);
  await server.query('postgres', 'create database elder owner own');
  await server.query('postgres', `create database "${kept}" owner own`);
  await server.query('postgres', `comment on database "${kept}" is ${noteOf(jobId, 'elder')}`);
  expect(await harness.engine.undo(jobId, await harness.context())).toMatchObject({ into: 'elder' });
  expect(await ownersOf('^elder')).toEqual({ elder: 'own', [asideName('elder', 'undone', jobId)]: 'own' });
});

test('an owner that was dropped while its database was kept hinders no undo', async () => {
  await server.query('postgres', 'create role brief');
  const { jobId } = await harness.restore(await make('orphan', 'brief'), { way: 'swap', database: 'orphan' });
  await server.query('postgres', 'drop database orphan');
  await server.query('postgres', 'drop role brief');
  await harness.engine.undo(jobId, await harness.context());
  expect(await ownersOf('^orphan')).toEqual({ orphan: 'lg_super' });
});

test('an agent that is not a superuser takes and gives back what it owns through its role', async () => {
  const passfile = join(harness.folder, 'agent.pgpass');
  await writeFile(passfile, '*:*:*:agent:y\n', { mode: 0o600 });
  await server.query('postgres', "create role agent login createdb password 'y'; grant own to agent");
  await using there = await EngineHarness.open(server, { user: 'agent', passfile }, join(harness.folder, 'repository'));
  await make('shared');
  await server.query('shared', 'drop table t');
  const { backupId } = await harness.backup({ databases: ['shared'] });
  const { jobId, setAsideAs } = await there.restore(backupId, { way: 'swap', database: 'shared' });
  expect(await ownersOf('^shared')).toEqual({ shared: 'own', [String(setAsideAs)]: 'agent' });
  await there.engine.undo(jobId, await there.context());
  expect(await ownersOf('^shared$')).toEqual({ shared: 'own' });
});

test('a database of another role with the name and note of a set-aside database is not swapped in', async () => {
  await server.query('postgres', "create role creator login createdb password 'x'");
  const { jobId, setAsideAs } = await harness.restore(await make('till'), { way: 'swap', database: 'till' });
  const forge = async (database: string): Promise<string> => {
    const forged = asideName(database, 'old', jobId);
    await server.queryAs('creator', 'x', 'postgres', `create database "${forged}"`);
    await server.queryAs('creator', 'x', 'postgres', `comment on database "${forged}" is ${noteOf(jobId, database)}`);
    return forged;
  };
  const forged = [await forge('victim'), await forge('newcomer')];
  expect(await harness.engine.undo(jobId, await harness.context())).toMatchObject({ into: 'till' });
  await expect(harness.engine.undo(jobId, await harness.context())).rejects.toMatchObject({
    code: 'UNDO_IMPOSSIBLE',
    message: expect.stringContaining('its owner "creator" is neither'),
  });
  expect(await ownersOf('^(victim|newcomer)')).toEqual({
    victim: 'lg_super',
    ...Object.fromEntries(forged.map((name) => [name, 'creator'])),
  });
  expect(await ownersOf(String(setAsideAs))).toEqual({});
});

test('an undo for which more than one database fits is refused by their names', async () => {
  const { jobId, setAsideAs } = await harness.restore(await make('twin'), { way: 'swap', database: 'twin' });
  const second = asideName('victim', 'old', jobId);
  await server.query('postgres', `create database "${second}"`);
  await server.query('postgres', `comment on database "${second}" is ${noteOf(jobId, 'victim')}`);
  await expect(harness.engine.undo(jobId, await harness.context())).rejects.toMatchObject({
    code: 'UNDO_IMPOSSIBLE',
    message: expect.stringMatching(new RegExp(`(?=.*${setAsideAs})(?=.*${second})`)),
  });
});
