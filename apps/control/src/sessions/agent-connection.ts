import type { Progress, StreamReport } from '@lastgood/protocol';

/** The connection of an agent, as the registry and the admin API see it. */
export interface AgentConnection {
  /** Counts up with every connection, so that the older of two is known whatever the network does. */
  readonly connection: number;
  /** The process of the agent; empty before its hello. */
  readonly instanceId: string;
  /** The session's epoch; 0 before its hello was accepted. */
  readonly epoch: number;
  readonly open: boolean;
  /** Heard from within the time that decides between online and offline. */
  readonly alive: boolean;
  /** How far the agent's clock is off, as it last reported. */
  readonly clockSkewMs: number | null;
  readonly outboxDepth: number;
  /** When its hello was accepted; 0 before. */
  readonly connectedAt: number;
  /** All events that its agent had collected before it connected have arrived. */
  readonly isCaughtUp: boolean;
  progressOf(jobId: string): Progress | null;
  /** Where the log stream of a target is, as the last heartbeat reported it; undefined when it reported none. */
  streamOf(target: string): StreamReport | undefined;
  /** Its hello was accepted: it is the session of this epoch from now on. */
  begin(epoch: number): void;
  /** Closes the connection if it was silent for longer than a lease. */
  closeIfSilent(): void;
  close(code: number, reason: string): void;
}
