import { uuidv7 } from '@lastgood/host';
import { startPostgres } from '@lastgood/testkit';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { failureOf } from './support/collector.ts';
import { EngineHarness, ref } from './support/engine-harness.ts';

const server = await startPostgres();
const harness = await EngineHarness.open(server);
let backupId: string;
const restore = { way: 'new', database: 'shop', as: 'copy' } as const;
const accepting = { acceptInvalidConstraints: true };

beforeAll(async () => {
  await server.query('postgres', 'create database shop');
  await server.query(
    'shop',
    `create function is_known(text) returns boolean language sql immutable as 'select true';
     create table customers (id int primary key, name text constraint known check (is_known(name)), age int constraint adult check (age >= 18));
     create table orders (id int primary key, customer int constraint "of customer" references customers);
     create table parts (id int, customer int, constraint part_customer foreign key (customer) references customers) partition by range (id);
     create table parts_1 partition of parts for values from (0) to (100);
     create table sound (customer int constraint sound_customer references customers);
     comment on constraint "of customer" on orders is 'who pays';
     comment on constraint known on customers is 'see is_known';
     insert into customers values (1, 'a', 20), (2, 'b', 30);
     insert into orders values (1, 1);
     insert into sound values (2);
     set session_replication_role = replica;
     insert into orders values (2, 77);
     insert into parts values (1, 88);
     set session_replication_role = origin;
     create or replace function is_known(text) returns boolean language sql immutable as 'select $1 <> ''b''';
     create function forbid() returns event_trigger language plpgsql as 'begin raise exception ''no ddl here''; end';
     create materialized view counted as select count(*) from orders;
     create event trigger forbid on ddl_command_start execute function forbid()`,
  );
  ({ backupId } = await harness.backup());
});
afterAll(async () => {
  await harness[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

test('rows that violate their own constraints are not restored without consent, and nothing is left behind', async () => {
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(restore, source, await harness.context());
  const order = { restore, jobId: uuidv7(), planHash: hash };
  expect(await failureOf(harness.carryOut(order, source, await harness.context()))).toMatchObject({
    code: 'RESTORE_FAILED',
    message: expect.stringContaining('breaks a constraint'),
  });
  expect(await server.query('postgres', "select datname from pg_database where datname ~ 'copy'")).toEqual([]);
});

test('consent to the plan without the option does not cover a restore with it', async () => {
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(restore, source, await harness.context());
  const order = { restore, jobId: uuidv7(), planHash: hash, options: accepting };
  expect((await failureOf(harness.carryOut(order, source, await harness.context()))).code).toBe('PLAN_CHANGED');
});

test('with --accept-invalid-constraints all rows are back, and the report names every constraint that does not hold', async () => {
  const source = await harness.repository.open(ref, backupId);
  const { hash } = await harness.plan(restore, source, await harness.context(), accepting);
  const order = { restore, jobId: uuidv7(), planHash: hash, options: accepting };
  const { warnings } = await harness.carryOut(order, source, await harness.context());
  expect(warnings).toMatchObject([
    {
      code: 'CONSTRAINTS_NOT_VALID',
      params: { count: 2, constraints: ['known of public.customers', '"of customer" of public.orders'] },
    },
    { code: 'CONSTRAINTS_LEFT_OUT', params: { count: 1, constraints: ['part_customer of public.parts'] } },
  ]);
  const [rows] = await server.query(
    'copy',
    `select (select count(*)::int from customers) as customers, (select count(*)::int from orders) as orders,
      (select count(*)::int from parts) as parts, (select count from counted)::int as counted`,
  );
  expect(rows).toEqual({ customers: 2, orders: 2, parts: 1, counted: 2 });
  expect(
    await server.query(
      'copy',
      "select conname as name, convalidated as valid, obj_description(oid, 'pg_constraint') as comment from pg_constraint where contype in ('c', 'f') and connamespace = 'public'::regnamespace order by 1",
    ),
  ).toEqual([
    { name: 'adult', valid: true, comment: null },
    { name: 'known', valid: false, comment: 'see is_known' },
    { name: 'of customer', valid: false, comment: 'who pays' },
    { name: 'sound_customer', valid: true, comment: null },
  ]);
  await expect(server.query('copy', 'insert into orders values (3, 99)')).rejects.toThrow('of customer');
});

test('an in-place restore, which is one transaction, refuses the option', async () => {
  const source = await harness.repository.open(ref, backupId);
  const inPlace = { way: 'in-place', database: 'shop' } as const;
  const plan = harness.plan(inPlace, source, await harness.context(), accepting);
  expect((await failureOf(plan)).code).toBe('BAD_INPUT');
});

test('the option is true or false', async () => {
  const source = await harness.repository.open(ref, backupId);
  const plan = harness.plan(restore, source, await harness.context(), { acceptInvalidConstraints: 'yes' });
  expect((await failureOf(plan)).code).toBe('BAD_INPUT');
});
