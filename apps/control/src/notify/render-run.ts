import type { RunbookRun } from '@lastgood/protocol';
import type { OutgoingMessage } from './sender.ts';

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** What a notify step of a runbook sends: the message of the fleet file and the state of the run. */
export function renderRunMessage(
  run: RunbookRun,
  message: string,
  contact: string,
  messageId: string,
): OutgoingMessage {
  const { runId, plan, startedBy, startedAt } = run;
  const lines = [
    message,
    `Runbook ${plan.runbook}, ${plan.mode} ${runId}, started by ${startedBy} at ${new Date(startedAt).toISOString()}.`,
    `Sent to contact ${contact}. Look at it: lastgood runbooks status ${runId}`,
  ];
  return {
    messageId,
    threadId: messageId,
    subject: `[Lastgood] runbook ${plan.runbook}: ${message.split('\n', 1)[0]?.slice(0, 200) ?? ''}`,
    text: `${lines.join('\n')}\n`,
    html: `<!doctype html><html><body>${lines.map((line) => `<p>${escapeHtml(line)}</p>`).join('')}</body></html>`,
    payload: { version: 1, type: 'runbook.notify', messageId, contact, runId, runbook: plan.runbook, message },
  };
}
