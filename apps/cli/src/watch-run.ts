import { setTimeout as delay } from 'node:timers/promises';
import { instant } from '@lastgood/core/format';
import { situationOf } from '@lastgood/core/runbooks';
import type { RunbookRunView, RunEvent } from '@lastgood/protocol';
import type { CommandContext } from './command-context.ts';
import { shortId } from './format/ids.ts';
import { progressLine } from './format/job-lines.ts';
import { askPatiently, Interrupted } from './watch.ts';

const ASK_MS = 300;

const WORDS: Record<RunEvent['what'], string> = {
  started: 'the run has started',
  'step-started': 'started',
  'step-succeeded': 'done',
  'step-failed': 'FAILED',
  approved: 'approved',
  retried: 'is tried again',
  alternative: 'takes its alternative',
  skipped: 'is skipped',
  aborted: 'the run is being aborted',
  ended: 'the run has ended',
};

function eventLine({ at, step, what, by, detail }: RunEvent): string {
  const about = step === null ? WORDS[what] : `${step} ${WORDS[what]}`;
  const more = what === 'started' ? '' : detail === null ? '' : `: ${detail}`;
  return `${instant(at).slice(11, 19)} ${about}${by === null ? '' : ` by ${by}`}${more}`;
}

/** What runs now, in one line. */
function statusLine({ activity }: RunbookRunView): string {
  return activity
    .map(({ step, hostOnline, progress, state }) => {
      if (!hostOnline) return `${step}: its host is offline`;
      return `${step}: ${progress === null ? (state ?? 'is being sent') : progressLine(progress)}`;
    })
    .join(' | ');
}

/**
 * Follows a run until it has ended or a failed step needs a decision, and notes what happens. Ctrl-C ends the watching, never the run. While
 * it only waits for an approval, it goes on watching: somebody may give it elsewhere.
 */
export async function followRun(context: CommandContext, runId: string): Promise<RunbookRunView> {
  const { output, signal } = context;
  const client = await context.client();
  let noted = 0;
  let asked = '';
  try {
    for (;;) {
      const view = await askPatiently(context, () => client.runbookRun.query({ runId }));
      const { events, steps } = view.run;
      for (const event of events.slice(noted)) output.note(eventLine(event));
      noted = events.length;
      const situation = situationOf(view.run);
      if (situation === 'ended' || situation === 'stopped') return view;
      const approvals = steps.filter(({ status }) => status.state === 'asking').map(({ name }) => name);
      for (const name of approvals)
        if (!asked.split(' ').includes(name))
          output.note(`${name} waits for an approval: lastgood runbooks resume ${shortId(runId)} --approve ${name}`);
      asked = approvals.join(' ');
      const line = statusLine(view);
      if (line !== '') output.status(line, view.activity.map(({ step, state }) => `${step} ${state}`).join(' '));
      await delay(ASK_MS, undefined, { signal });
    }
  } catch (error) {
    if (!signal.aborted) throw error;
    output.note(
      `no longer watching; the run goes on. Follow it with \`lastgood runbooks resume ${shortId(runId)}\`, stop it with \`lastgood runbooks abort ${shortId(runId)}\`.`,
    );
    throw new Interrupted();
  }
}
