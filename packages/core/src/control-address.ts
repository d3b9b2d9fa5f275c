import { Failure } from './failure.ts';

/** A path below the address of the control plane. The address may have a path of its own, as behind a proxy. */
export const controlEndpoint = (address: string, path: string): string =>
  `${address.trim().replace(/\/+$/, '')}/${path}`;

const CERTIFICATE_CODES: ReadonlySet<string> = new Set([
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
]);

/** The innermost cause of an error: ECONNREFUSED, ENOTFOUND, a certificate, a timeout. */
function innermostCause(error: unknown): { readonly code: string | null; readonly message: string } {
  let code: string | null = null;
  let message = String(error);
  for (let each: unknown = error; each instanceof Error; each = each.cause) {
    const [inner = each] = each instanceof AggregateError ? each.errors : [each];
    if (!(inner instanceof Error)) continue;
    if (inner.message !== '') message = inner.message;
    if ('code' in inner && typeof inner.code === 'string') code = inner.code;
  }
  return { code, message };
}

/** What to do about a connection that failed with this code. `setting` names where the address comes from. */
function remedyOf(code: string | null, setting: string): string | null {
  if (code === null) return null;
  if (CERTIFICATE_CODES.has(code))
    return 'The certificate is not trusted here. Set NODE_EXTRA_CA_CERTS to the file with the certificate of its authority, for the agent and for the command line.';
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return `The certificate is for another name. Use a name of the certificate in ${setting}.`;
  if (code === 'CERT_HAS_EXPIRED') return 'Renew the certificate of the control plane or of the proxy before it.';
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN')
    return `The name cannot be resolved. Correct the address in ${setting}, or the name service of this host.`;
  if (code === 'ECONNREFUSED')
    return `Nothing listens there. Start the control plane (\`lastgood control\`), or correct the address in ${setting}.`;
  return null;
}

/** CONTROL_UNREACHABLE with the cause and what to do about it. `setting` names where the address comes from. */
export function controlUnreachable(address: string, error: unknown, setting: string): Failure {
  const { code, message } = innermostCause(error);
  const remedy = remedyOf(code, setting);
  return new Failure('CONTROL_UNREACHABLE', `cannot reach the control plane at ${address}: ${message}`, {
    cause: error,
    ...(remedy === null ? {} : { remedy }),
  });
}

export const isRedirect = (status: number): boolean => status >= 300 && status < 400;

/** CONTROL_UNREACHABLE for an address that redirects to another. A redirect is never followed: it would carry the token away. */
export function controlRedirected(address: string, location: string | null, path: string, setting: string): Failure {
  const url = location !== null && URL.canParse(location, address) ? new URL(location, address) : null;
  const target = url?.href.slice(0, 500);
  // A page to sign in, or anything else that is not the same path elsewhere, is not an address of the control plane.
  const found = `${url?.pathname ?? ''}/`.indexOf(`/${path}/`);
  const wanted =
    url === null || found < 0 ? undefined : `${url.origin}${url.pathname.slice(0, found)}`.replace(/\/+$/, '');
  return new Failure('CONTROL_UNREACHABLE', `${address} redirects to ${target ?? 'another address'}`, {
    remedy: wanted === undefined ? `Correct the address in ${setting}.` : `Put ${wanted} into ${setting}.`,
  });
}
