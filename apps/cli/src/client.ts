import { readFile } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
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

/** The token: from the file that was named, else LASTGOOD_TOKEN_FILE, else LASTGOOD_TOKEN. Never an argument. */
async function readToken(file: string | undefined): Promise<string> {
  const path = file ?? process.env['LASTGOOD_TOKEN_FILE'];
  const direct = process.env['LASTGOOD_TOKEN'];
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
    throw new Failure('BAD_INPUT', `"${url}" is no http address`);
  const token = await readToken(tokenFile);
  if (!/^[\w-]+$/.test(token)) throw new Failure('UNAUTHENTICATED', 'what was given is no token');
  const link = httpLink({
    url: `${url.replace(/\/$/, '')}/trpc`,
    headers: { authorization: `Bearer ${token}` },
    fetch: (address, options) =>
      fetch(address, {
        ...(options as RequestInit),
        signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]),
      }),
  });
  return createTRPCClient<AdminRouter>({ links: [link] });
}

const shapeSchema = z.object({
  data: z.object({ code: z.string(), failure: wireErrorSchema.nullish(), badInput: z.boolean().optional() }),
});

/** What a call failed with, as one of our failures. */
export function failureOf(error: unknown, url: string): unknown {
  if (!(error instanceof TRPCClientError)) return error;
  const shape = shapeSchema.safeParse(error.shape);
  if (!shape.success)
    return new Failure('CONTROL_UNREACHABLE', `${url} does not answer as a control plane (${error.message})`, {
      cause: error,
    });
  const { code, failure, badInput } = shape.data.data;
  if (failure) return new Failure(failure.code, failure.message, { remedy: failure.remedy });
  if (badInput === true || code === 'BAD_REQUEST') return new Failure('BAD_INPUT', error.message);
  if (code === 'UNAUTHORIZED') return new Failure('UNAUTHENTICATED', error.message);
  if (code === 'FORBIDDEN') return new Failure('FORBIDDEN', error.message);
  return new Failure('BUG', `the control plane failed (${code})`);
}
