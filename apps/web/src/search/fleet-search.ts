import { STATE_ORDER, type TargetState } from '../data/fleet-row.ts';

/** What the address of the fleet page selects. */
export interface FleetSearch {
  readonly state?: TargetState | undefined;
  readonly environment?: string | undefined;
  readonly view?: 'tiles' | undefined;
}

export function readFleetSearch(search: Record<string, unknown>): FleetSearch {
  const state = STATE_ORDER.find((each) => each === search['state']);
  const environment = typeof search['environment'] === 'string' ? search['environment'] : undefined;
  return { state, environment, view: search['view'] === 'tiles' ? 'tiles' : undefined };
}
