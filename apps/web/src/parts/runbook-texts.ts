import { duration } from '@lastgood/core/format';
import type { PlannedAction, PlannedStep, RunStep } from '@lastgood/protocol';

/** What an action of a runbook does, in a few words. */
export function actionText(action: PlannedAction): string {
  switch (action.kind) {
    case 'restore': {
      const { into } = action.request;
      if (into.way === 'new') return `restore ${action.target} as “${into.name}”`;
      return into.way === 'folder'
        ? `restore ${action.target} into folder ${into.folder}`
        : `restore ${action.target} (${into.way})`;
    }
    case 'restore-test':
      return `restore test of ${action.target} in a scratch server, level ${action.level}`;
    case 'check':
    case 'hook':
      return `${action.kind} ${action.name} on ${action.host}`;
    case 'wait':
      return `wait ${duration(action.ms)}`;
    case 'approve':
      return action.by === 'another' ? 'approval by another person' : 'approval';
    case 'notify':
      return `notify ${action.contacts.join(', ')}`;
    case 'left-out':
      return `nothing: a drill leaves out a ${action.instead}`;
  }
}

export const actionsText = (actions: readonly PlannedAction[]): string => actions.map(actionText).join(', then ');

export const chosenActions = ({ choice, main, alternative }: PlannedStep): readonly PlannedAction[] =>
  choice === 'main' ? main : (alternative ?? main);

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
