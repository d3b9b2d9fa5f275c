import type { Alert, NotificationGroup } from '@lastgood/core/alerts';
import { desc, eq, inArray, isNull } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export type AlertChange =
  /** The next states of alerts, and pending ones that never fired. */
  | { readonly type: 'alerts.step'; readonly put: readonly Alert[]; readonly drop: readonly string[] }
  | { readonly type: 'alerts.groups'; readonly groups: readonly NotificationGroup[] };
export interface AlertQueries {
  open(): Promise<Alert[]>;
  get(alertId: string): Promise<Alert | undefined>;
  named(alertIds: readonly string[]): Promise<Alert[]>;
  /** The newest first. */
  list(openOnly: boolean, limit: number): Promise<Alert[]>;
  groups(): Promise<NotificationGroup[]>;
}

const { alerts, notificationGroups } = schema;
const alertOf = (row: typeof alerts.$inferSelect): Alert => row.alert as Alert;

export const alertAppliers: Appliers<AlertChange> = {
  'alerts.step': (db, { put, drop }) => {
    for (const alert of put) {
      const { alertId, code, state, sinceMs: openedAt, resolvedAtMs: resolvedAt } = alert;
      const row = { alertId, code, state, openedAt, resolvedAt, alert };
      db.insert(alerts).values(row).onConflictDoUpdate({ target: alerts.alertId, set: row }).run();
    }
    for (const alertId of drop) db.delete(alerts).where(eq(alerts.alertId, alertId)).run();
  },
  'alerts.groups': (db, { groups }) => {
    for (const content of groups) {
      const row = { environment: content.environment ?? '', contact: content.contact, content };
      const target = [notificationGroups.environment, notificationGroups.contact];
      db.insert(notificationGroups).values(row).onConflictDoUpdate({ target, set: row }).run();
    }
  },
};

export const alertQueries = (db: Db): AlertQueries => ({
  open: async () => db.select().from(alerts).where(isNull(alerts.resolvedAt)).all().map(alertOf),
  get: async (alertId) => db.select().from(alerts).where(eq(alerts.alertId, alertId)).all().map(alertOf)[0],
  named: async (alertIds) =>
    alertIds.length === 0
      ? []
      : db
          .select()
          .from(alerts)
          .where(inArray(alerts.alertId, [...alertIds]))
          .all()
          .map(alertOf),
  list: async (openOnly, limit) =>
    db
      .select()
      .from(alerts)
      .where(openOnly ? isNull(alerts.resolvedAt) : undefined)
      .orderBy(desc(alerts.openedAt), alerts.alertId)
      .limit(limit)
      .all()
      .map(alertOf),
  groups: async () =>
    db
      .select()
      .from(notificationGroups)
      .all()
      .map((row) => row.content as NotificationGroup),
});
