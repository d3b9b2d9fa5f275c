import { type EngineContext, Failure } from '@lastgood/core';
import { type Finding, makeFinding } from '@lastgood/protocol';
import pg from 'pg';
import type { PostgresConnection } from './connection-schema.ts';
import type { Fingerprint } from './fingerprint.ts';
import type { Properties } from './properties.ts';
import { Session } from './session.ts';

const id = pg.escapeIdentifier;

/** Under which settings a view is filled. */
interface Surroundings {
  readonly searchPath: string;
  readonly rowSecurity: 'on' | 'off';
}
/** As pg_restore does it: what would be thinned out by row security fails instead. */
const PLAIN: Surroundings = { searchPath: '', rowSecurity: 'off' };
const DEFAULT_PATH = '"$user", public';
const EMPTY_VIEWS = `select n.nspname as schema, c.relname as name, r.rolsuper and not coalesce(o.rolsuper, false) as guarded
  from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_roles r on r.oid = c.relowner left join pg_roles o on o.rolname = $1
  where c.relkind = 'm' and not c.relispopulated order by c.oid`;
/** The server is gone or full: that concerns more than one view. */
const NOT_OF_THE_VIEW = new Set(['DATABASE_UNREACHABLE', 'NO_SPACE']);

interface View extends pg.QueryResultRow {
  readonly schema: string;
  readonly name: string;
  /** It is filled with the rights of a superuser, in a database whose owner is none: his search_path must not lead it astray. */
  readonly guarded: boolean;
}
export interface UnrefreshedView extends View {
  readonly reason: string;
}

/** The event triggers that fire, with the words that turn them on again as they were. */
export async function firingTriggers(session: Session): Promise<{ name: string; again: string }[]> {
  return await session.rows(
    "select evtname as name, case evtenabled when 'R' then 'enable replica' when 'A' then 'enable always' else 'enable' end as again from pg_event_trigger where evtenabled <> 'D' order by 1",
  );
}

/**
 * Fills one view in a transaction in which no event trigger fires: they saw nothing of it in the source either. Under the search_path
 * of the database nothing but the view is looked up, and that with the rights of its owner.
 */
async function fill(
  session: Session,
  view: View,
  { searchPath, rowSecurity }: Surroundings,
  waitMs: number,
): Promise<void> {
  await session.run('begin');
  try {
    const triggers = await firingTriggers(session);
    for (const trigger of triggers) await session.run(`alter event trigger ${id(trigger.name)} disable`);
    await session.run(
      `set local lock_timeout = ${waitMs}; set local xmloption = content; set local row_security = ${rowSecurity}`,
    );
    await session.rows("select pg_catalog.set_config('search_path', $1, true)", [searchPath]);
    await session.run(`refresh materialized view ${id(view.schema)}.${id(view.name)}`);
    await session.run('set local search_path = pg_catalog');
    for (const trigger of triggers) await session.run(`alter event trigger ${id(trigger.name)} ${trigger.again}`);
    await session.run('commit');
  } catch (error) {
    await session.run('rollback').catch(() => undefined);
    throw error;
  }
}

/** Fills what can be filled, round after round while that helps: a view may read another that comes later. */
async function fillAll(
  session: Session,
  views: readonly View[],
  surroundings: Surroundings,
  lockWaitMs: number,
  context: EngineContext,
): Promise<UnrefreshedView[]> {
  const unrefreshed: UnrefreshedView[] = [];
  for (const view of views) {
    context.progress({ phase: 'views', doneBytes: 0, totalBytes: null });
    try {
      await fill(session, view, surroundings, lockWaitMs);
    } catch (error) {
      context.signal.throwIfAborted();
      if (!(error instanceof Failure) || NOT_OF_THE_VIEW.has(error.code)) throw error;
      unrefreshed.push({ ...view, reason: error.message });
    }
  }
  if (unrefreshed.length === 0 || unrefreshed.length === views.length) return unrefreshed;
  return await fillAll(session, unrefreshed, surroundings, lockWaitMs, context);
}

/**
 * Fills the materialized views that were filled in the source: with the settings of pg_restore, then with those of the database,
 * for a view may call functions that rely on its search_path. A view that cannot be filled does not damage the data: it is
 * returned, to be reported by name.
 */
export async function refreshMaterializedViews(
  connection: PostgresConnection,
  database: string,
  { properties, fingerprint }: { readonly properties: Properties; readonly fingerprint: Fingerprint },
  context: EngineContext,
): Promise<UnrefreshedView[]> {
  const filled = new Set(fingerprint.tables.map((table) => JSON.stringify([table.schema, table.name])));
  await using session = await Session.open(connection, database, context.signal, 'own');
  const views = (await session.rows<View>(EMPTY_VIEWS, [properties.owner])).filter((view) =>
    filled.has(JSON.stringify([view.schema, view.name])),
  );
  if (views.length === 0) return [];
  const unrefreshed = await fillAll(session, views, PLAIN, connection.lockWaitMs, context);
  if (unrefreshed.length === 0) return [];
  const set = properties.settings.find(({ role, setting }) => role === null && setting.startsWith('search_path='));
  const searchPath = set === undefined ? DEFAULT_PATH : set.setting.slice('search_path='.length);
  const own: Surroundings = { searchPath, rowSecurity: 'on' };
  const free = unrefreshed.filter((view) => !view.guarded);
  return [
    ...unrefreshed.filter((view) => view.guarded),
    ...(await fillAll(session, free, own, connection.lockWaitMs, context)),
  ];
}

/** The fingerprint without the views that stayed empty: nothing is to be expected of them. */
export function withoutUnrefreshed(fingerprint: Fingerprint, unrefreshed: readonly UnrefreshedView[]): Fingerprint {
  const empty = new Set(unrefreshed.map((view) => JSON.stringify([view.schema, view.name])));
  return {
    ...fingerprint,
    tables: fingerprint.tables.filter((table) => !empty.has(JSON.stringify([table.schema, table.name]))),
  };
}

export const reportUnrefreshed = ({ schema, name, reason }: UnrefreshedView): Finding =>
  makeFinding('VIEW_NOT_REFRESHED', { kind: 'materialized view', name: `${schema}.${name}` }, { reason });
