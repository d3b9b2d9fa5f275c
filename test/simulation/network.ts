import type { AgentCommand, HelloAnswer, HelloInput, JobReport } from '@lastgood/protocol';

export type Up =
  | { type: 'hello'; input: HelloInput }
  | { type: 'ack'; upToSeq: number }
  | { type: 'begin'; jobId: string; attempt: number; nonce: string }
  | { type: 'report'; report: JobReport }
  | { type: 'heartbeat'; running: { jobId: string; attempt: number }[]; outboxDepth: number };
export type Down =
  | { type: 'hello'; answer: HelloAnswer }
  | { type: 'command'; command: AgentCommand }
  | { type: 'begin'; nonce: string; granted: boolean; reason: string }
  | { type: 'report'; acceptedIds: string[] }
  | { type: 'heartbeat'; cancel: { jobId: string; attempt: number }[] };

/**
 * One connection: in order within itself, in any order against others. An end that is closed or dead takes nothing more; what
 * the other end has sent before may still arrive there. A broken one loses everything without a report.
 */
export interface Link {
  readonly id: number;
  readonly agent: number;
  readonly up: Up[];
  readonly down: Down[];
  agentOpen: boolean;
  controlOpen: boolean;
  broken: boolean;
  /** Nothing arrives before this time. */
  heldUntil: number;
}

export const newLink = (id: number, agent: number): Link => ({
  id,
  agent,
  up: [],
  down: [],
  agentOpen: true,
  controlOpen: true,
  broken: false,
  heldUntil: 0,
});

export const canDeliverUp = (link: Link, now: number): boolean =>
  link.controlOpen && !link.broken && link.heldUntil <= now && link.up.length > 0;
export const canDeliverDown = (link: Link, now: number): boolean =>
  link.agentOpen && !link.broken && link.heldUntil <= now && link.down.length > 0;
