import { eq } from 'drizzle-orm';
import type { Appliers, Db } from './db.ts';
import * as schema from './schema.ts';

export interface AgentRecord {
  readonly agentId: string;
  readonly installId: string;
  readonly environment: string;
  readonly host: string;
  readonly labels: Record<string, string>;
  readonly publicKey: string;
  readonly enrolledAt: number;
  readonly agentVersion: string | null;
  readonly signingKey: string | null;
  readonly lastSeenAt: number | null;
  readonly quarantinedAt: number | null;
}

export type AgentChange =
  /** A host was enrolled, or enrolled again: the only change that gives an agent another key. */
  | { readonly type: 'agent.enroll'; readonly agent: AgentRecord }
  | {
      readonly type: 'agent.seen';
      readonly agentId: string;
      readonly at: number;
      /** Left out if the agent did not report it. */
      /** What the agent reported as it connected. */
      readonly reported?: { readonly agentVersion: string; readonly signingKey: string };
    }
  | { readonly type: 'agent.quarantine'; readonly agentId: string; readonly at: number };

export interface AgentQueries {
  list(): Promise<AgentRecord[]>;
}

export const agentAppliers: Appliers<AgentChange> = {
  /** When an agent was last seen, and with which version, may be newer than what the enrollment knows: not overwritten. */
  'agent.enroll': (db, { agent }) => {
    const { installId, environment, host, labels, publicKey, enrolledAt, quarantinedAt } = agent;
    const set = { installId, environment, host, labels, publicKey, enrolledAt, quarantinedAt };
    db.insert(schema.agents).values(agent).onConflictDoUpdate({ target: schema.agents.agentId, set }).run();
  },
  'agent.seen': (db, { agentId, at, reported }) => {
    const set = { lastSeenAt: at, ...reported };
    db.update(schema.agents).set(set).where(eq(schema.agents.agentId, agentId)).run();
  },
  'agent.quarantine': (db, { agentId, at }) => {
    db.update(schema.agents).set({ quarantinedAt: at }).where(eq(schema.agents.agentId, agentId)).run();
  },
};

export const agentQueries = (db: Db): AgentQueries => ({
  list: async () => db.select().from(schema.agents).orderBy(schema.agents.environment, schema.agents.host).all(),
});
