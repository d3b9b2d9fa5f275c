import { expect, test } from 'vitest';
import { controlRedirected, controlUnreachable } from '../src/control-address.ts';

const failedWith = (code: string): TypeError =>
  new TypeError('fetch failed', { cause: Object.assign(new TypeError(`cause ${code}`), { code }) });

test.each([
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'NODE_EXTRA_CA_CERTS'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'NODE_EXTRA_CA_CERTS'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'another name'],
  ['CERT_HAS_EXPIRED', 'Renew'],
  ['ECONNREFUSED', 'Nothing listens there'],
])('op-2.5: a connection that failed with %s has a remedy of its own', (code, remedy) => {
  const failure = controlUnreachable('https://lastgood.example.com', failedWith(code), '--url');
  expect(failure.message).toBe(`cannot reach the control plane at https://lastgood.example.com: cause ${code}`);
  expect(failure.remedy).toContain(remedy);
});

test.each([
  ['https://new.example.com/lastgood/trpc/hosts?input=1', 'Put https://new.example.com/lastgood into --url.'],
  ['https://sso.example.com/login?next=/trpc', 'Correct the address in --url.'],
  ['https://sso.example.com/login', 'Correct the address in --url.'],
])('peer-F8: of a redirect to %s the remedy is %j', (location, remedy) => {
  expect(controlRedirected('https://old.example.com', location, 'trpc', '--url').remedy).toBe(remedy);
});
