import { createPublicKey, verify } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Clock } from '@lastgood/core';
import { PROTOCOL_VERSION } from '@lastgood/protocol';
import type { AgentRecord } from '../catalog/agents.ts';

/** How far a signed moment may lie from ours. The answer tells our time, so that a host with a wrong clock can sign with the right one. */
const WINDOW_MS = 5 * 60_000;
const OLDEST_PROTOCOL = Math.max(1, PROTOCOL_VERSION - 2);

export type Admission =
  | { readonly ok: true; readonly agent: AgentRecord }
  | { readonly ok: false; readonly status: 401 | 403 | 426; readonly reason: string };

/**
 * Decides at the HTTP upgrade whether a connection is that of an enrolled agent: Ed25519 over id, moment and nonce with the
 * key made at enrollment. A signature is good once (K4).
 */
export class AgentAuth {
  readonly #clock: Clock;
  readonly #agent: (agentId: string) => AgentRecord | undefined;
  readonly #startedAt: number;
  readonly #used = new Map<string, number>();

  constructor(clock: Clock, agent: (agentId: string) => AgentRecord | undefined) {
    this.#clock = clock;
    this.#startedAt = clock.now();
    this.#agent = agent;
  }

  admit(request: IncomingMessage): Admission {
    const refuse = (status: 401 | 403 | 426, reason: string): Admission => ({ ok: false, status, reason });
    const protocol = Number(request.headers['x-lastgood-protocol']);
    if (!(protocol >= OLDEST_PROTOCOL && protocol <= PROTOCOL_VERSION)) return refuse(426, 'protocol');
    const [, agentId = '', millis = '', nonce = '', signature = ''] =
      /^Lastgood ([0-9a-f-]{36})\.(\d{1,15})\.([\w-]{16,64})\.([\w-]{80,100})$/.exec(
        request.headers.authorization ?? '',
      ) ?? [];
    const agent = this.#agent(agentId);
    if (agent === undefined) return refuse(401, 'unknown');
    const message = Buffer.from(`lastgood-agent\n${agentId}\n${millis}\n${nonce}`);
    if (!verify(null, message, createPublicKey(agent.publicKey), Buffer.from(signature, 'base64url')))
      return refuse(401, 'signature');
    const now = this.#clock.now();
    // What was signed before this start may have been used before it: nobody remembers.
    if (Math.abs(now - Number(millis)) > WINDOW_MS || Number(millis) < this.#startedAt) return refuse(401, 'clock');
    for (const [seen, at] of this.#used) {
      if (now - at <= 2 * WINDOW_MS) break;
      this.#used.delete(seen);
    }
    const once = `${agentId}.${nonce}`;
    if (this.#used.has(once)) return refuse(401, 'replay');
    this.#used.set(once, now);
    if (agent.quarantinedAt !== null) return refuse(403, 'quarantined');
    if (request.headers['x-lastgood-install'] !== agent.installId) return refuse(403, 'install');
    return { ok: true, agent };
  }
}
