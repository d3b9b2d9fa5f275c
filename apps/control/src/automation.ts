import type { Clock } from '@lastgood/core';
import type { Catalog } from './catalog/catalog.ts';
import { CatalogCopies } from './catalog/catalog-copies.ts';
import type { LedgerStore } from './dispatch/ledger-store.ts';
import type { ControlLimits } from './limits.ts';
import type { Log } from './log.ts';
import { CatalogOutbox } from './notify/catalog-outbox.ts';
import type { NotifyConfig } from './notify/notify-config.ts';
import { OutboxRunner } from './notify/outbox-runner.ts';
import { runNotifications, wait } from './notify/run-notifications.ts';
import { makeSenders } from './notify/senders.ts';
import { Planner } from './planner/planner.ts';
import { DrillScheduler } from './runbooks/drill-scheduler.ts';
import { EvidenceKey } from './runbooks/evidence-key.ts';
import { RunbookRunner } from './runbooks/runbook-runner.ts';
import type { AgentRegistry } from './sessions/agent-registry.ts';

export interface AutomationParts {
  readonly catalog: Catalog;
  readonly ledgers: LedgerStore;
  readonly registry: AgentRegistry;
  readonly clock: Clock;
  readonly log: Log;
  readonly limits: ControlLimits;
  readonly notify: NotifyConfig;
  readonly dataDir: string;
  /** The catalog is a copy from the past. */
  readonly isRestored: boolean;
  /** Where copies of the catalog are kept. */
  readonly copiesDir: string;
}
/** What the control plane does by itself: the planner, the runs of runbooks, and the delivery of messages. */
export interface Automation extends AsyncDisposable {
  readonly planner: Planner;
  readonly runbooks: RunbookRunner;
}

/** Starts it with what the catalog holds. */
export async function openAutomation(parts: AutomationParts): Promise<Automation> {
  const { catalog, ledgers, registry, clock, log, limits, notify, dataDir, copiesDir, isRestored } = parts;
  await using cleanup = new AsyncDisposableStack();
  const outbox = new OutboxRunner({
    store: new CatalogOutbox(catalog),
    senderOf: makeSenders(notify, clock),
    ...{ clock, log, random: Math.random, wait },
  });
  const notified = (): void => outbox.wake();
  const common = { catalog, ledgers, registry, clock, log, notified };
  const copies = await CatalogCopies.open({ catalog, folder: copiesDir, clock, log });
  const planner = cleanup.use(
    await Planner.open({ ...common, copies, everyMs: limits.plannerMs, baseUrl: notify.baseUrl ?? null }),
  );
  const evidenceKey = await EvidenceKey.open(dataDir);
  const runbooks = cleanup.use(
    await RunbookRunner.open({ ...common, planner, evidenceKey, everyMs: limits.runbooksMs }, isRestored),
  );
  cleanup.use(new DrillScheduler({ catalog, registry, planner, runbooks, clock, log, everyMs: limits.plannerMs }));
  const running = runNotifications({ outbox, planner, notify, clock, log });
  cleanup.defer(() => running.stop());
  const open = cleanup.move();
  return { planner, runbooks, [Symbol.asyncDispose]: () => open.disposeAsync() };
}
