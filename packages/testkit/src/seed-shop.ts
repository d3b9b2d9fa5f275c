import pg from 'pg';
import type { PostgresServer } from './postgres-server.ts';

const ROLES = `do $$ begin
  if not exists (select from pg_roles where rolname = 'shop_owner') then create role shop_owner; end if;
  if not exists (select from pg_roles where rolname = 'shop "reader" - 1') then create role "shop ""reader"" - 1" login password 'read:er'; end if;
end $$`;

/** Examples of everything that a dump must contain: types, names, and objects other than tables. */
const SCHEMA = String.raw`
create schema "Odd Schema";
create schema "host=evil dbname=x";
create type mood as enum ('sad', 'it''s ok', 'happy');
create domain positive as int check (value > 0);
create type pair as (a int, b text);
create table customers (id int generated always as identity primary key, name text not null, email text unique, feeling mood default 'happy');
insert into customers (name, email) select 'Customer ' || i, 'c' || i || '@example.test' from generate_series(1, 100) i;
create table orders (id bigserial primary key, customer int not null references customers, at timestamptz not null default now(), amount numeric(12,2) not null, note text, lines jsonb not null,
  total numeric generated always as (amount * 1.19) stored, constraint sane check (amount >= 0));
create index on orders (customer, at);
create index orders_lines on orders using gin (lines);
create table types_awkward (
  id int primary key, b bytea, arr int[], texts text[][], m mood, p positive, c pair, r int4range, mr int4multirange, n numeric, ts timestamp, tz timestamptz, d date, t time, tt timetz, i interval,
  ip inet, net cidr, mac macaddr, u uuid, bits bit varying(20), vec tsvector, q tsquery, cash money, f8 float8, f4 float4, ch char(8), vc varchar(5), pt point, poly polygon, js json, reg regclass, nul text);
insert into types_awkward values
  (1, '\xdeadbeef00', '{1,null,3}', '{{"a,b","c\"d"},{"",null}}', 'it''s ok', 7, '(1,"x,y")', '[1,5)', '{[1,3),[7,9)}', 'NaN', 'infinity', '-infinity', '4713-01-01 BC', '24:00', '23:59:59.999999-14', '1 year -2 days 03:04:05.6',
   '::1/64', '10.0.0.0/8', '08:00:2b:01:02:03', '00000000-0000-0000-0000-000000000001', b'10101', 'a fat cat', 'fat & !cat', '-12.34', '-0', 'NaN', 'abc', E'\u00e4\u20ac', '(1,2)', '((0,0),(1,1),(1,0))', '{"b":1, "a":2}', 'customers', null),
  (2, '', '{}', '{}', 'sad', 1, null, 'empty', '{}', 123456789012345678901234567890.123456789, '0001-01-01 00:00:00.000001', now(), 'infinity', '00:00', '00:00+00', '0', '127.0.0.1', '::/0', 'ff:ff:ff:ff:ff:ff', gen_random_uuid(), b'', '', '', 0, 'Infinity', 1e-40, '', '', '(0,0)', '((0,0))', 'null', 'orders', E'line\nbreak\t\\N \\.');
create table "Odd Schema"."table with ""quotes"" - and; semicolons" ("select" int, "Straße" text, "a""b" int);
insert into "Odd Schema"."table with ""quotes"" - and; semicolons" values (1, 'ü', 2), (null, '', null);
create table "host=evil dbname=x"."--drop" ("user" text);
insert into "host=evil dbname=x"."--drop" values ('x');
create table "表 😀 $(id) ../%s \ ''" ("line
break" int, " " text, constraint "a b" check (" " <> 'x''y'));
insert into "表 😀 $(id) ../%s \ ''" values (1, E'tab\t, \\., "quoted", \u200b');
create table identity_always (id int generated always as identity (start 500 increment 7) primary key, twice int generated always as (500 * 2) stored);
insert into identity_always default values; insert into identity_always default values;
create table empty_of_columns ();
insert into empty_of_columns default values;
create unlogged table scratchpad (v int); insert into scratchpad values (1), (1), (2);
create table parted (id int, region text) partition by list (region);
create table parted_eu partition of parted for values in ('eu');
create table parted_rest partition of parted default;
insert into parted values (1, 'eu'), (2, 'us'), (3, null);
create table parent (id int); create table child (extra text) inherits (parent);
insert into parent values (1); insert into child values (2, 'c');
create materialized view per_customer as select customer, count(*) from orders group by 1;
create materialized view not_filled as select 1 as one with no data;
create view rich as select * from orders where amount > 9000;
create function touched() returns trigger language plpgsql as $f$ begin new.note := coalesce(new.note, 'touched'); return new; end $f$;
create trigger touch before insert on orders for each row execute function touched();
create sequence "Odd Schema".descending increment by -3 minvalue -1000 start -1 cycle; select nextval('"Odd Schema".descending'), nextval('"Odd Schema".descending');
create sequence untouched start 42;
create table secrets (id int, owner text); alter table secrets enable row level security;
create policy own on secrets using (owner = current_user); insert into secrets values (1, 'nobody'), (2, 'shop_owner');
create table deferred (id int primary key, next int references deferred deferrable initially deferred);
insert into deferred values (1, 2), (2, 1);
create table rooms (during tsrange, exclude using gist (during with &&)); insert into rooms values ('[2026-01-01,2026-01-02)');
create procedure forget(customer int) language sql as 'delete from orders where orders.customer = forget.customer';
create aggregate longest(text) (sfunc = text_larger, stype = text, initcond = '');
create rule keep as on delete to parted do instead nothing;
create function noted() returns event_trigger language plpgsql as $f$ begin null; end $f$;
create event trigger note_ddl on ddl_command_end when tag in ('CREATE CAST') execute function noted();
do $$ declare photo oid := lo_from_bytea(424242, decode(repeat('00ff', 5000), 'hex')); begin
  perform lo_from_bytea(0, ''), lo_from_bytea(0, 'x');
  execute format('alter large object %s owner to shop_owner', photo);
  execute format('comment on large object %s is %L', photo, 'a photo''s bytes');
  execute format('grant select on large object %s to "shop ""reader"" - 1"', photo);
end $$;
create publication shop_changes for table orders;
create statistics orders_stat (dependencies) on customer, amount from orders;
alter table customers owner to shop_owner;
grant select on orders to "shop ""reader"" - 1";
grant usage on schema "Odd Schema" to "shop ""reader"" - 1"; grant insert ("Straße") on "Odd Schema"."table with ""quotes"" - and; semicolons" to public;
comment on column customers.feeling is E'two\nlines'; comment on type pair is ''; comment on function touched() is '$$';
comment on table orders is 'the table that is lost; it''s "important"';
alter default privileges for role shop_owner grant select on tables to "shop ""reader"" - 1";
`;

/** Extensions that a server has only when its packages are installed or its build includes them. */
const EXTENSIONS: Readonly<Record<string, string>> = {
  hstore: `create table with_hstore (h hstore); insert into with_hstore values ('a=>1, "b c"=>NULL, "q\\""=>""')`,
  citext: `create table with_citext (c citext unique); insert into with_citext values ('MiXeD')`,
  pgcrypto: `create table with_digest (d bytea default digest('x', 'sha256')); insert into with_digest default values`,
};
const XML = "create table with_xml (x xml); insert into with_xml values ('<a>ä</a>'), (null)";

async function seedExtensions(server: PostgresServer, database: string): Promise<void> {
  const rows = await server.query(database, 'select name from pg_available_extensions');
  const available = new Set(rows.map((row) => row['name']));
  for (const [name, sql] of Object.entries(EXTENSIONS))
    if (available.has(name))
      await server.query(
        database,
        `create extension ${name} schema "Odd Schema"; set search_path to "Odd Schema", public; ${sql}`,
      );
  const [xml] = await server.query(
    database,
    "select count(*)::int as n from pg_config where name = 'CONFIGURE' and setting like '%--with-libxml%'",
  );
  if (xml?.['n'] === 1) await server.query(database, XML);
}

/** Creates a database with every kind of content that a dump must contain. Table `orders` gets `rows` rows. */
export async function seedShop(server: PostgresServer, database: string, { rows }: { rows: number }): Promise<void> {
  const name = pg.escapeIdentifier(database);
  await server.query('postgres', ROLES);
  await server.query(
    'postgres',
    `create database ${name} template template0 encoding 'UTF8' lc_collate 'C' lc_ctype 'C.UTF-8'`,
  );
  await server.query('postgres', `alter database ${name} owner to shop_owner`);
  await server.query('postgres', `alter database ${name} set work_mem to '8MB'`);
  await server.query('postgres', `alter role shop_owner in database ${name} set search_path to "Odd Schema", public`);
  await server.query('postgres', `comment on database ${name} is 'the shop''s database'`);
  await server.query('postgres', `grant connect on database ${name} to "shop ""reader"" - 1" with grant option`);
  await server.query(database, SCHEMA);
  await seedExtensions(server, database);
  await server.query(
    database,
    `insert into orders (customer, at, amount, note, lines) select 1 + i % 100, timestamptz '2026-01-01' + i * interval '1 minute', (i * 7919 % 1000000) / 100.0, case when i % 3 = 0 then null else 'order ' || md5(i::text) end,
     jsonb_build_array(jsonb_build_object('sku', 'S' || i % 500, 'n', i % 7)) from generate_series(1, ${Math.round(rows)}) i`,
  );
  await server.query(database, 'refresh materialized view per_customer; analyze');
}
