import {
  type Alert,
  type AlertCondition,
  acknowledge,
  type NotificationGroup,
  planNotifications,
  type RoutingTable,
  stepAlerts,
} from '@lastgood/core/alerts';
import type { FleetFile } from '@lastgood/core/fleet-file';
import type { Catalog, Change } from '../catalog/catalog.ts';
import { copyIdOf, destinationsOf } from '../notify/destinations.ts';
import type { OutboxEntry } from '../notify/outbox-runner.ts';
import { renderNotification } from '../notify/render.ts';

/** An alert that only was seen again is written this often. */
const SEEN_EVERY_MS = 60_000;

/** The open alerts and what contacts were notified of. One step at a time: each is committed before the next begins. */
export class AlertStore {
  readonly #catalog: Catalog;
  readonly #baseUrl: string | null;
  #open: ReadonlyMap<string, Alert>;
  /** As they are in the catalog. */
  #stored: ReadonlyMap<string, Alert>;
  #groups: readonly NotificationGroup[];
  #tail: Promise<unknown> = Promise.resolve();

  private constructor(
    catalog: Catalog,
    baseUrl: string | null,
    open: readonly Alert[],
    groups: readonly NotificationGroup[],
  ) {
    this.#catalog = catalog;
    this.#baseUrl = baseUrl;
    this.#open = new Map(open.map((alert) => [alert.alertId, alert]));
    this.#stored = this.#open;
    this.#groups = groups;
  }

  static async open(catalog: Catalog, baseUrl: string | null): Promise<AlertStore> {
    return new AlertStore(catalog, baseUrl, await catalog.alerts.open(), await catalog.alerts.groups());
  }

  get alerts(): readonly Alert[] {
    return [...this.#open.values()];
  }

  async #serially<T>(work: () => Promise<T>): Promise<T> {
    const step = this.#tail.then(work);
    this.#tail = step.catch(() => undefined);
    return await step;
  }

  /** Takes the conditions that hold now, and puts the notifications that follow into the outbox. Returns how many copies. */
  async step(
    conditions: readonly AlertCondition[],
    file: FleetFile,
    table: RoutingTable,
    nowMs: number,
  ): Promise<number> {
    return await this.#serially(async () => {
      const { alerts, dropped } = stepAlerts(this.alerts, conditions, nowMs);
      const known = new Set(alerts.map(({ alertId }) => alertId));
      const resolvedBefore = this.#groups.flatMap(({ notified }) => notified.filter((id) => !known.has(id)));
      const plan = planNotifications({
        alerts: [...alerts, ...(await this.#catalog.alerts.named([...new Set(resolvedBefore)]))],
        groups: this.#groups,
        table,
        muting: { silences: [], maintenances: [] },
        nowMs,
      });
      const entries = plan.messages.flatMap((message) => {
        const contact = file.contacts[message.contact];
        return contact === undefined
          ? []
          : this.#copiesOf(renderNotification(message, this.#baseUrl), message.contact, destinationsOf(contact), nowMs);
      });
      const put = alerts.filter((alert) => this.#isToBeStored(alert));
      const changes: Change[] = [];
      if (put.length > 0 || dropped.length > 0) changes.push({ type: 'alerts.step', put, drop: dropped });
      if (plan.groups.length > 0) changes.push({ type: 'alerts.groups', groups: plan.groups });
      if (entries.length > 0) changes.push({ type: 'notification.add', entries });
      if (changes.length > 0) await this.#catalog.commit(changes);
      this.#remember(alerts, put, plan.groups);
      return entries.length;
    });
  }

  #copiesOf(
    message: OutboxEntry['message'],
    contact: string,
    destinations: readonly OutboxEntry['destination'][],
    createdMs: number,
  ): OutboxEntry[] {
    return destinations.map((destination) => ({
      entryId: copyIdOf(message.messageId, destination),
      ...{ contact, destination, message, createdMs, tries: 0 },
    }));
  }

  #isToBeStored(alert: Alert): boolean {
    const stored = this.#stored.get(alert.alertId);
    if (stored === undefined || alert.lastSeenMs - stored.lastSeenMs >= SEEN_EVERY_MS) return true;
    return (
      JSON.stringify({ ...alert, lastSeenMs: 0, params: null }) !==
      JSON.stringify({ ...stored, lastSeenMs: 0, params: null })
    );
  }

  #remember(alerts: readonly Alert[], put: readonly Alert[], groups: readonly NotificationGroup[]): void {
    const open = alerts.filter(({ state }) => state !== 'resolved');
    const fresh = new Set(put);
    this.#stored = new Map(
      open.map((alert) => [alert.alertId, fresh.has(alert) ? alert : (this.#stored.get(alert.alertId) ?? alert)]),
    );
    this.#open = new Map(open.map((alert) => [alert.alertId, alert]));
    const key = ({ environment, contact }: NotificationGroup): string => `${environment ?? ''}/${contact}`;
    const changed = new Map(groups.map((group) => [key(group), group]));
    this.#groups = [...new Map([...this.#groups.map((group) => [key(group), group] as const), ...changed]).values()];
  }

  /** A person takes an alert. Undefined: it is not open. One that does not fire stays as it is. */
  async acknowledge(
    alertId: string,
    by: string,
    note: string | null,
    nowMs: number,
    changes: readonly Change[],
  ): Promise<Alert | undefined> {
    return await this.#serially(async () => {
      const alert = this.#open.get(alertId);
      if (alert === undefined) return undefined;
      const taken = acknowledge(alert, by, note, nowMs);
      if (taken === alert) return alert;
      await this.#catalog.commit([{ type: 'alerts.step', put: [taken], drop: [] }, ...changes]);
      this.#open = new Map(this.#open).set(alertId, taken);
      this.#stored = new Map(this.#stored).set(alertId, taken);
      return taken;
    });
  }
}
