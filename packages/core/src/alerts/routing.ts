import type { Alert } from './alert-state.ts';
import { environmentOf, subjectName } from './condition.ts';

/** Who is notified of the alerts of a target, from its policies. */
export interface AlertRoute {
  readonly contacts: readonly string[];
  readonly repeatMs: number;
  readonly escalate: { readonly afterMs: number; readonly contacts: readonly string[] } | null;
}

/** The environments whose alerts a contact gets; null for all. */
export interface RoutingContact {
  readonly environments: readonly string[] | null;
}

export interface RoutingTable {
  readonly contacts: ReadonlyMap<string, RoutingContact>;
  /** The routes of targets by `environment/host/target`. */
  readonly targets: ReadonlyMap<string, AlertRoute>;
  /** What the routes of the targets of a host add up to, by `environment/host`. */
  readonly hosts: ReadonlyMap<string, AlertRoute>;
}

const DEFAULT_REPEAT_MS = 4 * 3_600_000;

function merge(routes: readonly AlertRoute[]): AlertRoute {
  const escalations = routes.flatMap(({ escalate }) => escalate ?? []);
  return {
    contacts: [...new Set(routes.flatMap(({ contacts }) => contacts))],
    repeatMs: Math.min(DEFAULT_REPEAT_MS, ...routes.map(({ repeatMs }) => repeatMs)),
    escalate:
      escalations.length === 0
        ? null
        : {
            afterMs: Math.min(...escalations.map(({ afterMs }) => afterMs)),
            contacts: [...new Set(escalations.flatMap(({ contacts }) => contacts))],
          },
  };
}

/** Makes a table of all contacts, and of the routes of all targets that have a policy, by `environment/host/target`. */
export function makeRoutingTable(
  contacts: Iterable<readonly [string, RoutingContact]>,
  targets: Iterable<readonly [string, AlertRoute]>,
): RoutingTable {
  const routes = new Map(targets);
  const byHost = Map.groupBy(routes, ([name]) => name.slice(0, name.lastIndexOf('/')));
  const hosts = [...byHost].map(([host, entries]) => [host, merge(entries.map(([, route]) => route))] as const);
  return { contacts: new Map(contacts), targets: routes, hosts: new Map(hosts) };
}

function routeOfSubject({ subject }: Alert, table: RoutingTable): AlertRoute {
  switch (subject.kind) {
    case 'target':
      return table.targets.get(subjectName(subject)) ?? merge([]);
    case 'host':
    case 'repository':
      return table.hosts.get(`${subject.environment}/${subject.host}`) ?? merge([]);
    case 'fleet':
      return merge([]);
  }
}

/**
 * Who is notified of an alert: the contacts of its target's policies, of all targets of its host, or, when that is nobody, every contact
 * of its environment. An alert never reaches nobody while there is a contact.
 */
export function routeOf(alert: Alert, table: RoutingTable): AlertRoute {
  const environment = environmentOf(alert.subject);
  const isFor = (name: string): boolean => {
    const contact = table.contacts.get(name);
    if (contact === undefined) return false;
    return environment === null || contact.environments === null || contact.environments.includes(environment);
  };
  const route = routeOfSubject(alert, table);
  const contacts = route.contacts.filter(isFor);
  const everyone = [...table.contacts.keys()];
  const fallback = everyone.filter(isFor).length > 0 ? everyone.filter(isFor) : everyone;
  const escalation = route.escalate?.contacts.filter(isFor) ?? [];
  return {
    contacts: contacts.length > 0 ? contacts : fallback,
    repeatMs: route.repeatMs,
    escalate: route.escalate === null || escalation.length === 0 ? null : { ...route.escalate, contacts: escalation },
  };
}
