import { stringify } from 'yaml';
import { type FleetFile, fleetFileSchema } from './schema.ts';

/** Runbook steps stay in the order of their author; all other entries are sorted, so that an export differs only where the fleet does. */
const sorted = <T>(entries: Readonly<Record<string, T>> = {}): Record<string, T> =>
  Object.fromEntries(Object.entries(entries).toSorted(([a], [b]) => (a < b ? -1 : 1)));

/** The file as YAML, in the order of the schema and by name. Reading it again gives an equal file. */
export function formatFleetFile(file: FleetFile): string {
  const { environments, contacts, policies, runbooks } = fleetFileSchema.encode(file);
  const sections = {
    environments: sorted(environments),
    contacts: sorted(contacts),
    policies: sorted(policies),
    runbooks: sorted(runbooks),
  };
  const present = Object.entries(sections).filter(([, entries]) => Object.keys(entries).length > 0);
  return present.length === 0 ? '{}\n' : stringify(Object.fromEntries(present), { lineWidth: 0 });
}
