import { Failure } from '@lastgood/core';
import { shortInstant } from '@lastgood/core/format';
import { scopeSchema } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { tokenDocument } from '../documents.ts';
import { shortId } from '../format/ids.ts';
import { table } from '../format/table.ts';
import { durationMs } from './input.ts';
import { tokenIdOf } from './resolve.ts';

const hours = (expires: string): number => durationMs('--expires', expires) / 3_600_000;

/** True for an address that means another machine on another host. */
const isLoopback = (url: string): boolean => /^(localhost|127\.|\[::1\])/.test(new URL(url).hostname);

export async function listTokens(context: CommandContext): Promise<number> {
  const list = await (await context.client()).tokens.query({});
  const now = Date.now();
  const stateOf = (token: (typeof list)[number]): string => {
    if (token.revokedAt !== null) return 'revoked';
    if (token.expiresAt !== null && token.expiresAt < now) return 'expired';
    return token.usesLeft === 0 ? 'used' : 'valid';
  };
  const rows = list.map((token) => [
    shortId(token.id),
    token.name,
    token.kind === 'enroll' ? 'enroll' : (token.scope ?? '-'),
    stateOf(token),
    shortInstant(token.createdAt),
    token.expiresAt === null ? 'never' : shortInstant(token.expiresAt),
    token.lastUsedAt === null ? 'never' : shortInstant(token.lastUsedAt),
  ]);
  context.output.answer({ tokens: list.map(tokenDocument) }, () =>
    table(['token', 'name', 'scope', 'state', 'created', 'expires', 'last used'], rows, 'There are no tokens.'),
  );
  return 0;
}

export async function createToken(
  context: CommandContext,
  name: string,
  options: { scope: string; expires?: string },
): Promise<number> {
  const scope = scopeSchema.safeParse(options.scope);
  if (!scope.success)
    throw new Failure('BAD_INPUT', `--scope is one of ${scopeSchema.options.join(', ')}, not "${options.scope}"`);
  const expiresInHours = options.expires === undefined ? null : hours(options.expires);
  const { token, view } = await (await context.client()).createToken.mutate({
    name,
    scope: scope.data,
    expiresInHours,
  });
  context.output.note('The token is shown once; keep it in a file that only you can read:');
  context.output.answer({ secret: token, token: tokenDocument(view) }, () => [token]);
  return 0;
}

export async function createEnrollToken(
  context: CommandContext,
  environment: string,
  host: string,
  options: { expires: string; replace?: boolean },
): Promise<number> {
  const client = await context.client();
  const { token, view } = await client.createEnrollToken.mutate({
    environment,
    host,
    expiresInHours: hours(options.expires),
    replace: options.replace === true,
  });
  context.output.note(`Write this token into a file (mode 0600) on ${environment}/${host}, then run there:`);
  context.output.note(
    `  lastgood agent enroll --config /etc/lastgood/agent.yaml --url ${context.url} --token-file FILE`,
  );
  if (isLoopback(context.url))
    context.output.note(
      `${context.url} is the address on this host. On another host, use the address of the control plane from there.`,
    );
  context.output.answer({ secret: token, token: tokenDocument(view) }, () => [token]);
  return 0;
}

export async function revokeToken(context: CommandContext, id: string): Promise<number> {
  const client = await context.client();
  const view = await client.revokeToken.mutate({ id: await tokenIdOf(client, id) });
  context.output.answer({ token: tokenDocument(view) }, () => [`token ${view.id} (${view.name}) is revoked`]);
  return 0;
}
