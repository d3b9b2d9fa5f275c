import type { Clock } from '@lastgood/core';
import type { Scope } from '@lastgood/protocol';
import type { Catalog, Change } from '../catalog/catalog.ts';
import type { LedgerStore } from '../dispatch/ledger-store.ts';
import type { Planner } from '../planner/planner.ts';
import type { RunbookRunner } from '../runbooks/runbook-runner.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';
import type { SignInCodes } from './sign-in-codes.ts';

/** The caller of a request. */
export interface Actor {
  readonly tokenId: string;
  readonly name: string;
  readonly scope: Scope;
}
/** What the services of the admin API work with, for one caller. */
export interface ApiParts {
  readonly catalog: Catalog;
  readonly ledgers: LedgerStore;
  readonly registry: AgentRegistry;
  readonly planner: Planner;
  readonly runbooks: RunbookRunner;
  /** The names of the channels of the notification file. */
  readonly channels: ReadonlySet<string>;
  readonly signInCodes: SignInCodes;
  readonly clock: Clock;
  readonly actor: Actor;
}

/** The audit record of a change, to be committed with it. */
export const auditChange = ({ clock, actor }: ApiParts, action: string, subject: string, detail = ''): Change => ({
  type: 'audit',
  entry: { at: clock.now(), actor: actor.name, action, subject, detail },
});
