import type { RunStep } from '@lastgood/protocol';

type StepState = RunStep['status']['state'];

/** Each state of a step has a sign and a word, so that color is never the only difference. */
export const STEP_STATES: Readonly<Record<StepState, { sign: string; word: string; tone: string }>> = {
  pending: { sign: '·', word: 'pending', tone: 'muted' },
  running: { sign: '▶', word: 'running', tone: 'accent' },
  waiting: { sign: '◷', word: 'waiting', tone: 'accent' },
  asking: { sign: '?', word: 'needs approval', tone: 'warn' },
  succeeded: { sign: '✓', word: 'done', tone: 'ok' },
  failed: { sign: '✗', word: 'failed', tone: 'bad' },
  skipped: { sign: '↷', word: 'skipped', tone: 'warn' },
  'left-out': { sign: '–', word: 'left out', tone: 'muted' },
  canceled: { sign: '–', word: 'canceled', tone: 'muted' },
};

const DONE: ReadonlySet<StepState> = new Set(['succeeded', 'skipped', 'left-out']);
export const countDone = (steps: readonly RunStep[]): number =>
  steps.filter(({ status }) => DONE.has(status.state)).length;
