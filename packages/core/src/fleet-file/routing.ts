import { makeRoutingTable, type RoutingTable } from '../alerts/routing.ts';
import { effectivePolicy, type MatchTarget } from './match.ts';
import type { FleetFile } from './schema.ts';
import { nameOfTarget } from './validate-target.ts';

/** Who is notified of which alerts, from the contacts and policies of a fleet file. */
export function routingTableOf(file: FleetFile, targets: readonly MatchTarget[]): RoutingTable {
  const contacts = Object.entries(file.contacts).map(
    ([name, { environments = null }]) => [name, { environments }] as const,
  );
  const routes = targets.flatMap((target) => {
    const alerts = effectivePolicy(file, target)?.alerts;
    return alerts === undefined ? [] : [[nameOfTarget(target), alerts] as const];
  });
  return makeRoutingTable(contacts, routes);
}
