import type { IncomingHttpHeaders } from 'node:http';

/**
 * Whether a browser sent the request from a page of this control plane. Browsers set `Sec-Fetch-Site` and no script can change it;
 * an old one that does not is judged by `Origin`. Without either header the answer is no.
 */
export function isSameOrigin({ 'sec-fetch-site': site, origin, host }: IncomingHttpHeaders): boolean {
  if (site !== undefined) return site === 'same-origin';
  if (origin === undefined || host === undefined || !URL.canParse(origin)) return false;
  return new URL(origin).host === host;
}
