import { readFile } from 'node:fs/promises';
import { controlEndpoint, controlRedirected, controlUnreachable, Failure, isRedirect } from '@lastgood/core';
import { type AdminRouter, wireErrorSchema } from '@lastgood/protocol';
import { createTRPCClient, httpLink, type TRPCClient, TRPCClientError } from '@trpc/client';
import { z } from 'zod';

export type AdminClient = TRPCClient<AdminRouter>;
export interface Connection {
  readonly url: string;
  readonly tokenFile: string | undefined;
  /** Ends a call that is under way: Ctrl-C does not wait for a control plane that hangs. */
  readonly signal: AbortSignal;
}
const CALL_MS = 60_000;
/** Where the command line gets the address from. */
const ADDRESS_SETTING = '--url or LASTGOOD_URL';

/** The token: from the file that was named, else LASTGOOD_TOKEN_FILE, else LASTGOOD_TOKEN. Never an argument. */
async function readToken(file: string | undefined): Promise<string> {
  // An empty variable counts as unset.
  const path = file ?? (process.env['LASTGOOD_TOKEN_FILE'] || undefined);
  const direct = process.env['LASTGOOD_TOKEN'] || undefined;
  if (path === undefined && direct !== undefined) return direct.trim();
  if (path === undefined) throw new Failure('UNAUTHENTICATED', 'no token was given');
  return await readFile(path, 'utf8').then(
    (text) => text.trim(),
    (error: NodeJS.ErrnoException) => {
      throw new Failure('UNAUTHENTICATED', `the token file ${path} cannot be read (${error.code})`);
    },
  );
}

export async function connect({ url, tokenFile, signal }: Connection): Promise<AdminClient> {
  if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
    throw new Failure('BAD_INPUT', `not an HTTP address: "${url}" (--url or LASTGOOD_URL)`);
  const token = await readToken(tokenFile);
  if (!/^[\w-]+$/.test(token))
    throw new Failure(
      'UNAUTHENTICATED',
      `malformed token (${tokenFile ?? 'of the environment'}): a token consists of letters, digits, - and _`,
    );
  const link = httpLink({
    url: controlEndpoint(url, 'trpc'),
    headers: { authorization: `Bearer ${token}` },
    fetch: async (address, options) => {
      const response = await fetch(address, {
        ...(options as RequestInit),
        redirect: 'manual',
        signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]),
      });
      if (isRedirect(response.status))
        throw controlRedirected(String(address), response.headers.get('location'), 'trpc', ADDRESS_SETTING);
      return response;
    },
  });
  return createTRPCClient<AdminRouter>({ links: [link] });
}

/** A message of the schema about an input, as text for a command line. */
const badInputText = (message: string): string =>
  message.replace(/^✖ (.*)\n\s*→ at (.*)$/gm, '$2: $1').replace(/^✖ /gm, '');

const shapeSchema = z.object({
  data: z.object({ code: z.string(), failure: wireErrorSchema.nullish(), badInput: z.boolean().optional() }),
});

/** What a call failed with, as one of our failures. */
export function failureOf(error: unknown, url: string): unknown {
  if (!(error instanceof TRPCClientError)) return error;
  const shape = shapeSchema.safeParse(error.shape);
  if (!shape.success) {
    if (error.cause instanceof Failure) return error.cause;
    return controlUnreachable(url, error, ADDRESS_SETTING);
  }
  const { code, failure, badInput } = shape.data.data;
  if (failure) {
    const message = failure.code === 'BAD_INPUT' ? badInputText(failure.message) : failure.message;
    return new Failure(failure.code, message, { remedy: failure.remedy });
  }
  if (badInput === true || code === 'BAD_REQUEST') return new Failure('BAD_INPUT', badInputText(error.message));
  if (code === 'UNAUTHORIZED') return new Failure('UNAUTHENTICATED', error.message);
  if (code === 'FORBIDDEN') return new Failure('FORBIDDEN', error.message);
  return new Failure('BUG', `the control plane failed (${code})`);
}
