import { createPublicKey } from 'node:crypto';
import { type Clock, Failure } from '@lastgood/core';
import { uuidv7 } from '@lastgood/host';
import { enrollInputSchema, PROTOCOL_VERSION } from '@lastgood/protocol';
import { z } from 'zod';
import type { AgentRecord } from '../catalog/agents.ts';
import type { Catalog } from '../catalog/catalog.ts';
import { tokenHash } from '../catalog/tokens.ts';
import type { AgentRegistry } from '../sessions/agent-registry.ts';

/** A call whose answer was lost can be repeated for this long. */
const REPEAT_MS = 10 * 60_000;

function checkKey(pem: string): void {
  try {
    if (createPublicKey(pem).asymmetricKeyType !== 'ed25519')
      throw new Failure('BAD_INPUT', 'the key of an agent must be an Ed25519 key');
  } catch (error) {
    throw error instanceof Failure
      ? error
      : new Failure('BAD_INPUT', 'publicKey is not a key in PEM format', { cause: error });
  }
}

/** Joins a host: a one-time token that names it, and the public half of a key that never leaves it. Enrolling a host again replaces its key. */
export async function enroll(
  body: unknown,
  catalog: Catalog,
  registry: AgentRegistry,
  clock: Clock,
): Promise<{ agentId: string }> {
  const parsed = enrollInputSchema.safeParse(body);
  if (!parsed.success) throw new Failure('BAD_INPUT', z.prettifyError(parsed.error));
  const input = parsed.data;
  if (input.protocol > PROTOCOL_VERSION || input.protocol < PROTOCOL_VERSION - 2)
    throw new Failure('PROTOCOL_UNSUPPORTED', `unsupported protocol version ${input.protocol}`);
  checkKey(input.publicKey);
  const now = clock.now();
  const token = await catalog.tokens.byHash(tokenHash(input.token));
  if (token?.kind !== 'enroll' || token.revokedAt !== null)
    throw new Failure('ENROLL_TOKEN_INVALID', 'the token is unknown, expired or revoked');
  if (token.environment !== input.environment || token.host !== input.host)
    throw new Failure(
      'ENROLL_TOKEN_INVALID',
      `the token is for ${token.environment}/${token.host}, not for ${input.environment}/${input.host}`,
    );
  const known = registry.agentNamed(input.environment, input.host);
  if (
    token.usesLeft === 0 &&
    known?.publicKey === input.publicKey &&
    known.installId === input.installId &&
    now - (token.lastUsedAt ?? 0) <= REPEAT_MS
  )
    return { agentId: known.agentId };
  if (token.expiresAt !== null && token.expiresAt < now)
    throw new Failure('ENROLL_TOKEN_INVALID', 'the token is unknown, expired or revoked');
  const agent: AgentRecord = {
    agentId: known?.agentId ?? uuidv7(now),
    installId: input.installId,
    environment: input.environment,
    host: input.host,
    labels: input.labels,
    publicKey: input.publicKey,
    enrolledAt: now,
    agentVersion: known?.agentVersion ?? null,
    signingKey: known?.signingKey ?? null,
    lastSeenAt: known?.lastSeenAt ?? null,
    quarantinedAt: null,
  };
  const entry = {
    at: now,
    actor: `token ${token.name}`,
    action: known === undefined ? 'agent.enroll' : 'agent.enrollAgain',
    subject: `${agent.environment}/${agent.host}`,
    detail: agent.agentId,
  };
  await registry.enroll(agent, [
    { type: 'token.use', id: token.id, at: now },
    { type: 'agent.enroll', agent },
    { type: 'audit', entry },
  ]);
  return { agentId: agent.agentId };
}
