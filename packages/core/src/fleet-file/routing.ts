import { makeRoutingTable, type RoutingTable } from '../alerts/routing.ts';
import type { EffectivePolicy, MatchTarget } from './match.ts';
import type { FleetFile } from './schema.ts';
import { nameOfTarget } from './validate-target.ts';

/** Which contact receives which alerts: from the contacts of a fleet file and the policies of the targets. */
export function routingTableOf(
  { contacts: all }: FleetFile,
  targets: readonly { readonly match: MatchTarget; readonly policy: EffectivePolicy | null }[],
): RoutingTable {
  const contacts = Object.entries(all).map(([name, { environments = null }]) => [name, { environments }] as const);
  const routes = targets.flatMap(({ match, policy }) =>
    policy === null ? [] : [[nameOfTarget(match), policy.alerts] as const],
  );
  return makeRoutingTable(contacts, routes);
}
