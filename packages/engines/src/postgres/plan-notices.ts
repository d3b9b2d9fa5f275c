import type { ArtifactSource, EngineContext } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import type { QueryResultRow } from 'pg';
import type { DatabaseArtifacts } from './artifacts.ts';
import type { PostgresConnection } from './connection-schema.ts';
import type { DatabaseRestore } from './database-restore.ts';
import { listDump } from './load.ts';
import type { Server } from './server.ts';
import { Session } from './session.ts';

interface Planned {
  readonly source: ArtifactSource;
  readonly artifacts: DatabaseArtifacts;
  readonly connection: PostgresConnection;
}

/** Whose code the load runs with rights that its owner does not have. */
async function codeOfOthers({ session }: Server, { fingerprint }: DatabaseArtifacts): Promise<Finding[]> {
  const { role } = await session.one<{ role: string }>('select current_user as role');
  const owners = (fingerprint.codeOwners ?? []).filter((owner) => owner !== role);
  if (owners.length === 0) return [];
  return [makeFinding('UNTRUSTED_CODE', null, { owners, role })];
}

/** Logical slots stay with the database that is set aside, where nobody reads them. */
async function slotsLeft({ session }: Server, mode: DatabaseRestore): Promise<Finding[]> {
  if (mode.way !== 'swap') return [];
  const slots = await session.rows<{ name: string }>(
    'select slot_name as name from pg_replication_slots where database = $1 order by 1',
    [mode.database],
  );
  if (slots.length === 0) return [];
  const names = slots.map(({ name }) => name);
  return [makeFinding('REPLICATION_SLOTS_LEFT', { kind: 'database', name: mode.database }, { slots: names })];
}

/** The partitions of a database that are not in the backup: dropping their parent drops them, with their rows. */
const PARTITIONS = `with recursive below (oid, top) as (
    select i.inhrelid, i.inhparent from pg_inherits i join pg_class c on c.oid = i.inhparent where c.relkind = 'p'
    union select i.inhrelid, b.top from below b join pg_inherits i on i.inhparent = b.oid
  ) select n.nspname as schema, c.relname as name, tn.nspname as "topSchema", t.relname as "topName"
  from below b join pg_class c on c.oid = b.oid join pg_namespace n on n.oid = c.relnamespace
  join pg_class t on t.oid = b.top join pg_namespace tn on tn.oid = t.relnamespace where c.relkind in ('r', 'f') order by 1, 2`;

interface Partition extends QueryResultRow {
  readonly schema: string;
  readonly name: string;
  readonly topSchema: string;
  readonly topName: string;
}

async function partitionsLost(
  server: Server,
  mode: DatabaseRestore,
  planned: Planned,
  context: EngineContext,
): Promise<Finding[]> {
  if (mode.way !== 'in-place') return [];
  const { connection, artifacts, source } = planned;
  await using inside = await Session.open(connection, mode.database, context.signal);
  const key = (schema: string, name: string): string => JSON.stringify([schema, name]);
  const held = new Set(artifacts.fingerprint.tables.map(({ schema, name }) => key(schema, name)));
  const others = (await inside.rows<Partition>(PARTITIONS)).filter(({ schema, name }) => !held.has(key(schema, name)));
  if (others.length === 0) return [];
  const entries = await listDump({ connection, tools: server.tools, source, dump: artifacts.dump }, context.signal);
  const inDump = ({ schema, name }: { schema: string; name: string }): boolean =>
    entries.some((entry) => entry.includes(` TABLE ${schema} ${name} `));
  const lost = others.filter((each) => !inDump(each) && inDump({ schema: each.topSchema, name: each.topName }));
  const names = [...new Set(lost.map(({ schema, name }) => `${schema}.${name}`))];
  return names.length === 0 ? [] : [makeFinding('PARTITIONS_LOST', null, { partitions: names })];
}

/** What a restore does that consent to it should cover; part of the hash of the plan. */
export async function noticesOf(
  server: Server,
  mode: DatabaseRestore,
  exists: boolean,
  planned: Planned,
  context: EngineContext,
): Promise<Finding[]> {
  return [
    ...(await codeOfOthers(server, planned.artifacts)),
    ...(exists ? await slotsLeft(server, mode) : []),
    ...(exists ? await partitionsLost(server, mode, planned, context) : []),
  ];
}
