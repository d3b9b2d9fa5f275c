import type { PlannedAction, PlannedStep } from '@lastgood/protocol';
import { duration } from '../format/index.ts';

/** What an action of a runbook does, in a few words. The command line and the dashboard show the same text. */
export function actionText(action: PlannedAction): string {
  switch (action.kind) {
    case 'restore': {
      const { into } = action.request;
      if (into.way === 'new') return `restore ${action.target} as "${into.name}"`;
      return into.way === 'folder'
        ? `restore ${action.target} into folder ${into.folder}`
        : `restore ${action.target} (${into.way})`;
    }
    case 'restore-test':
      return `restore test of ${action.target} in a scratch server (level ${action.level})`;
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
      return `nothing (${action.instead}: not part of a drill)`;
  }
}

export const actionsText = (actions: readonly PlannedAction[]): string => actions.map(actionText).join(', then ');

/** The actions that a step of a plan begins with. */
export const chosenActions = ({ choice, main, alternative }: PlannedStep): readonly PlannedAction[] =>
  choice === 'main' ? main : (alternative ?? main);
