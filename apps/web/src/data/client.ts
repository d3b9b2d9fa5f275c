import type { AdminRouter, WireError } from '@lastgood/protocol';
import { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink, TRPCClientError } from '@trpc/client';

const url = '/trpc';

/** The admin API, with the session cookie of the browser. */
export const api = createTRPCClient<AdminRouter>({
  links: [
    splitLink({
      condition: ({ type }) => type === 'subscription',
      true: httpSubscriptionLink({ url }),
      false: httpBatchLink({ url, maxItems: 16 }),
    }),
  ],
});

export interface ShownFailure {
  readonly code: string;
  readonly message: string;
  readonly remedy: string;
}

const UNREACHABLE: ShownFailure = {
  code: 'CONTROL_UNREACHABLE',
  message: 'the control plane does not respond',
  remedy: 'Check that it is running and that this machine can reach it. Jobs on the hosts continue without it.',
};

/** What a call failed with, for people. */
export function failureOf(error: unknown): ShownFailure {
  // A Failure of packages/core, which is not loaded for this alone.
  if (error instanceof Error && 'wireError' in error) return error.wireError as WireError;
  if (error instanceof TRPCClientError) {
    const failure = (error.data as { failure?: WireError } | undefined)?.failure;
    return failure ?? UNREACHABLE;
  }
  return UNREACHABLE;
}

/** The session has ended: the page asks to sign in again. */
export const isSignedOut = (error: unknown): boolean => failureOf(error).code === 'UNAUTHENTICATED';
