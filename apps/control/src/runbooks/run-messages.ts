import type { FleetFile } from '@lastgood/core/fleet-file';
import { plannedStepOf } from '@lastgood/core/runbooks';
import { deriveUuid } from '@lastgood/core/schedules';
import type { RunbookRun } from '@lastgood/protocol';
import { copyIdOf, destinationsOf } from '../notify/destinations.ts';
import type { OutboxEntry } from '../notify/outbox-runner.ts';
import { renderRunMessage } from '../notify/render-run.ts';

/** The names of the steps that notify and have succeeded. */
const notified = (run: RunbookRun | undefined): string[] =>
  (run?.steps ?? [])
    .filter(({ name, status }) => status.state === 'succeeded' && run !== undefined && messageOf(run, name) !== null)
    .map(({ name }) => name);

function messageOf(run: RunbookRun, step: string): { contacts: readonly string[]; message: string } | null {
  const { choice, main } = plannedStepOf(run, step);
  const [action] = main;
  return choice === 'main' && action?.kind === 'notify' ? action : null;
}

/** What the notify steps send that have succeeded between two states of a run. The same steps give the same ids. */
export function messagesOf(
  before: RunbookRun | undefined,
  after: RunbookRun,
  contacts: FleetFile['contacts'],
  nowMs: number,
): OutboxEntry[] {
  const known = new Set(notified(before));
  return notified(after)
    .filter((step) => !known.has(step))
    .flatMap((step) => {
      const { contacts: names = [], message = '' } = messageOf(after, step) ?? {};
      return names.flatMap((name) => {
        const contact = contacts[name];
        if (contact === undefined) return [];
        const messageId = deriveUuid(after.runId, `notify ${step} ${name}`);
        const rendered = renderRunMessage(after, message, name, messageId);
        return destinationsOf(contact).map((destination) => ({
          entryId: copyIdOf(messageId, destination),
          ...{ contact: name, destination, message: rendered, createdMs: nowMs, tries: 0 },
        }));
      });
    });
}
