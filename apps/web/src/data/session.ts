import { queryOptions } from '@tanstack/react-query';
import type { ShownFailure } from './client.ts';
import { queryClient } from './query-client.ts';

export type Scope = 'read' | 'operate' | 'destroy' | 'admin';
export interface Session {
  readonly user: { readonly name: string; readonly scope: Scope } | null;
  readonly version: string;
}

async function readSession(response: Response): Promise<Session> {
  return (await response.json()) as Session;
}

export const sessionQuery = queryOptions({
  queryKey: ['session'],
  queryFn: async () => await readSession(await fetch('/session')),
  staleTime: Number.POSITIVE_INFINITY,
});

/** Signs in with a token or a one-time code. Returns null, or why it failed. */
export async function signIn(secret: { token: string } | { code: string }): Promise<ShownFailure | null> {
  const response = await fetch('/session', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(secret),
  });
  if (!response.ok) return ((await response.json()) as { error: ShownFailure }).error;
  queryClient.clear();
  queryClient.setQueryData(sessionQuery.queryKey, await readSession(response));
  return null;
}

export async function signOut(): Promise<void> {
  const response = await fetch('/session', { method: 'DELETE' });
  queryClient.clear();
  queryClient.setQueryData(sessionQuery.queryKey, await readSession(response));
}

const RANK: Readonly<Record<Scope, number>> = { read: 0, operate: 1, destroy: 2, admin: 3 };

/** Why a person with a scope may not do what needs another; null when they may. */
export function missingScope(has: Scope, needs: Scope): string | null {
  return RANK[has] >= RANK[needs] ? null : `Your token has the scope “${has}”. This needs “${needs}”.`;
}
