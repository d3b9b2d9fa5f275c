import { instant } from '@lastgood/core/format';
import type { CommandContext } from '../command-context.ts';

/** Prints a link that signs a browser in once, with the scope of the token of this call. */
export async function dashboardLink(context: CommandContext): Promise<number> {
  const client = await context.client();
  const { code, expiresAt } = await client.createSignInCode.mutate({});
  // A browser sends nothing behind `#` to any server, so the code is in no log.
  const url = `${context.url.replace(/\/$/, '')}/sign-in#code=${code}`;
  context.output.note(`The link signs in once, until ${instant(expiresAt)}:`);
  context.output.answer({ url, expiresAt: new Date(expiresAt).toISOString() }, () => [url]);
  return 0;
}
