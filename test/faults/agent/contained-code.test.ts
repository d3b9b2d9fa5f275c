import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findContainment, findProcesses } from '@lastgood/host';
import type { JobSpec, JobView } from '@lastgood/protocol';
import { type PostgresServer, startPostgres, temporaryFolder, waitFor } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Fleet } from '../../support/fleet.ts';
import { findLeftovers } from '../../support/leftovers.ts';

const never = new AbortController().signal;
const WITHIN_MS = 60_000;
const MARK = `4720${process.pid}`;
const here = await findContainment(never);
const cleanup = new AsyncDisposableStack();
let server: PostgresServer;
let fleet: Fleet;
/** Every user of the host may do anything in it. */
let open: string;

beforeAll(async () => {
  open = await mkdtemp('/var/tmp/lastgood-open-');
  await chmod(open, 0o777);
  cleanup.defer(() => rm(open, { recursive: true, force: true }));
  await writeFile(join(open, 'secret'), 'secret', { mode: 0o644 });
  server = cleanup.use(await startPostgres());
  await server.query(
    'postgres',
    "create role thief login password 'thief'; create role victim login password 'victim'",
  );
  for (const name of ['aathief', 'shop', 'zzlast'])
    await server.query('postgres', `create database ${name} owner ${name === 'aathief' ? 'thief' : 'victim'}`);
  await server.query('shop', "create table secretstuff as select 'canary' as value");
  const { path } = cleanup.use(await temporaryFolder());
  fleet = cleanup.use(await Fleet.start(path, server.connection));
});
afterAll(() => cleanup.disposeAsync());

/** The processes of the host that a hostile database has started. */
const escaped = (): Promise<unknown[]> =>
  findProcesses(async (pid) => (await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).includes(MARK));

/**
 * Gives a database a check constraint that tries to escape from its restore test. The number of rows of `marks` then is the number of
 * escapes that succeeded: a finding reports it.
 */
async function arm(database: string, attempts: { readonly shell: readonly string[]; readonly sql: readonly string[] }) {
  const literal = (text: string): string => `'${text.replaceAll("'", "''")}'`;
  const tries = [
    // A program that does not read its input may fail by that.
    ...attempts.shell.map(
      (script) => `execute ${literal(`copy (select 1) to program ${literal(`cat >/dev/null; ${script}`)}`)};`,
    ),
    ...attempts.sql.map((query) => `if not (${query}) then raise 'no'; end if;`),
  ];
  const blocks = tries.map(
    (each) => `begin ${each} insert into public.marks values (1); exception when others then null; end;`,
  );
  await server.query(
    database,
    `drop table if exists public.trap; drop table if exists public.marks; create table public.marks (n int);
     create or replace function public.attack(int) returns boolean language plpgsql as $attack$
     begin if current_user <> 'lastgood_scratch' then return true; end if; ${blocks.join('\n')} return true; end $attack$;
     create table public.trap (n int check (public.attack(n))); insert into public.trap values (1)`,
  );
}

async function backUp(contents: string[]): Promise<string> {
  const spec = { command: 'backup', target: 'shop', method: null, contents, options: {} } satisfies JobSpec;
  const job = await fleet.run(spec);
  expect(job).toMatchObject({ state: 'succeeded' });
  return job.result?.command === 'backup' ? job.result.backup.backupId : '';
}
const verify = (backupId: string): Promise<JobView> =>
  fleet.run({ command: 'verify', target: 'shop', backupId, level: 5 });

test('attack-B5, E5: code in one database sees, alters and reaches nothing but its own restore test', async ({
  skip,
}) => {
  skip(here.kind === 'none', here.kind === 'none' ? here.missing : '');
  // The way in which this test learns of an escape works.
  await arm('aathief', {
    shell: ['true', 'echo local all all trust > pg_hba.conf && kill -HUP "$PPID"'],
    sql: ['true'],
  });
  const proof = await verify(await backUp(['aathief']));
  expect(proof.result).toMatchObject({
    passed: false,
    findings: [{ code: 'TABLE_ROWS_DIFFER', subject: { name: 'public.marks' }, params: { rows: '3' } }],
  });
  await arm('aathief', {
    shell: [
      `cat ${open}/secret`,
      `echo x > ${open}/written`,
      `cat ${join(fleet.folder, 'agent.yaml')}`,
      `ls ${join(fleet.folder, 'repository')}`,
      `ls ${server.dataDir}`,
      `test -S ${server.socketFolder}/.s.PGSQL.${server.port}`,
      `pg_isready -h 127.0.0.1 -p ${server.port}`,
      `kill -0 ${fleet.agentPid}`,
      'unshare --user true',
    ],
    sql: [
      "exists (select from pg_database where datname in ('shop', 'zzlast'))",
      "exists (select from pg_authid where rolname in ('victim', 'thief') and rolpassword is not null)",
    ],
  });
  const everything = await backUp(['aathief', 'shop', 'zzlast']);
  const attacked = await verify(everything);
  expect(attacked).toMatchObject({ state: 'succeeded', result: { passed: true, findings: [] } });
  expect(await readdir(open)).toEqual(['secret']);
});

test('attack-B6, E6: what restored code leaves running is gone before the next database, and after the test', async ({
  skip,
}) => {
  skip(here.kind === 'none', here.kind === 'none' ? here.missing : '');
  const stays = `setsid -f sh -c 'sleep ${MARK}' >/dev/null 2>&1`;
  const waits = `setsid -f sh -c 'while sleep 0.1; do cat /tmp/lastgood-scratch-*/data/pg_hba.conf; done # ${MARK}' >/dev/null 2>&1`;
  const shares = 'echo x > /tmp/lastgood-escape && echo x > /dev/shm/lastgood-escape';
  await arm('aathief', { shell: [stays, waits, shares], sql: [] });
  await arm('zzlast', {
    shell: [
      'test -e /tmp/lastgood-escape',
      'test -e /dev/shm/lastgood-escape',
      `grep -l '[4]${MARK.slice(1)}' /proc/[0-9]*/cmdline`,
    ],
    sql: [],
  });
  const { result } = await verify(await backUp(['aathief', 'zzlast']));
  // The three attempts of the first database were made; those of the second found nothing of them.
  expect(result).toMatchObject({ findings: [{ code: 'TABLE_ROWS_DIFFER', params: { rows: '3' } }] });
  expect(await escaped()).toEqual([]);
  expect(await readdir(open)).toEqual(['secret']);
  for (const folder of ['/tmp', '/dev/shm']) expect(await readdir(folder)).not.toContain('lastgood-escape');
});

test('attack-B6, I10: a killed agent takes restored code with it, and the next one finds nothing left', async ({
  skip,
}) => {
  skip(here.kind === 'none', here.kind === 'none' ? here.missing : '');
  await arm('aathief', {
    shell: [`setsid -f sh -c 'sleep ${MARK}' >/dev/null 2>&1`],
    sql: ['pg_sleep(600) is null'],
  });
  const backupId = await backUp(['aathief']);
  const jobId = await fleet.send({ command: 'verify', target: 'shop', backupId, level: 5 });
  await waitFor('the escape', WITHIN_MS, never, async () => ((await escaped()).length > 0 ? true : undefined));
  await fleet.killAgent();
  await waitFor('the end of it', WITHIN_MS, never, async () => ((await escaped()).length === 0 ? true : undefined));
  await fleet.startAgent();
  await fleet.client.cancelJob.mutate({ jobId });
  await fleet.ended(jobId);
  await waitFor('the sweep', WITHIN_MS, never, async () =>
    (await findLeftovers(fleet, server)).length === 0 ? true : undefined,
  );
});
