import { Failure } from '@lastgood/core';

/** What is known about a failed request, from the SDK's error. */
export interface S3Error {
  /** The code of the server (`NoSuchKey`), or of the network (`ECONNRESET`). */
  readonly code: string;
  /** The status of the response; undefined when there was none. */
  readonly status: number | undefined;
}

/** Codes of the server that a later request may not meet. */
const TRANSIENT_CODES: ReadonlySet<string> = new Set([
  'ConditionalRequestConflict',
  'OperationAborted',
  'RequestTimeout',
  'SlowDown',
  'Throttling',
  'ThrottlingException',
  'TooManyRequests',
]);
const FULL_CODES: ReadonlySet<string> = new Set(['QuotaExceeded', 'InsufficientStorage', 'XMinioStorageFull']);
const CREDENTIAL_CODES: ReadonlySet<string> = new Set([
  'CredentialsProviderError',
  'ExpiredToken',
  'ExpiredTokenException',
  'InvalidAccessKeyId',
  'InvalidToken',
  'SignatureDoesNotMatch',
]);
const CLOCK_CODES: ReadonlySet<string> = new Set(['RequestTimeTooSkewed', 'RequestExpired']);

const hasKey = <K extends string>(value: object, key: K): value is Record<K, unknown> => key in value;

/** Reads the error of a request; undefined for anything else, such as a defect or an error of the body of a put. */
export function s3ErrorOf(error: unknown): S3Error | undefined {
  if (!(error instanceof Error) || error instanceof Failure) return undefined;
  const metadata = hasKey(error, '$metadata') ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && hasKey(metadata, 'httpStatusCode')
      ? metadata.httpStatusCode
      : undefined;
  const networkCode = hasKey(error, 'code') && typeof error.code === 'string' ? error.code : undefined;
  const isKnown =
    metadata !== undefined ||
    networkCode !== undefined ||
    ['TimeoutError', 'CredentialsProviderError'].includes(error.name);
  if (!isKnown) return undefined;
  return { code: networkCode ?? error.name, status: typeof status === 'number' ? status : undefined };
}

/** Whether the same request may succeed later. */
export function isTransient({ code, status }: S3Error): boolean {
  if (CREDENTIAL_CODES.has(code)) return false;
  if (FULL_CODES.has(code) || status === 501 || status === 507) return false;
  if (TRANSIENT_CODES.has(code)) return true;
  return status === undefined || status === 429 || status >= 500;
}

/** The failure for a request that will not be repeated. `what` names the request and its object. Never contains the server's prose. */
export function failureOf({ code, status }: S3Error, what: string, cause: unknown): Failure {
  const text = `${what} failed: ${code}${status === undefined ? '' : ` (HTTP ${status})`}`;
  if (CREDENTIAL_CODES.has(code))
    return new Failure('REPOSITORY_DENIED', text, {
      cause,
      remedy: 'Correct or renew the credentials that the agent file names for this repository (`credentialsFile`).',
    });
  if (CLOCK_CODES.has(code))
    return new Failure('REPOSITORY_DENIED', text, {
      cause,
      remedy:
        'Correct the clock of this host: the server refuses requests that are signed at another time than its own.',
    });
  if (code === 'NoSuchBucket')
    return new Failure('REPOSITORY_NOT_MOUNTED', text, {
      cause,
      remedy: 'Correct `bucket`, `region` and `endpoint` of the repository in the agent file, or create the bucket.',
    });
  if (FULL_CODES.has(code) || status === 507)
    return new Failure('NO_SPACE', text, { cause, remedy: 'Raise the quota of the bucket, or free space in it.' });
  if (code === 'PreconditionFailed' || status === 412) return new Failure('OBJECT_EXISTS', text, { cause });
  if (status === 403 || status === 401) return new Failure('REPOSITORY_DENIED', text, { cause });
  if (status === 301 || code === 'PermanentRedirect' || code === 'AuthorizationHeaderMalformed')
    return new Failure('IO_ERROR', text, {
      cause,
      remedy: 'Correct `region` and `endpoint` of the repository in the agent file: the bucket is in another region.',
    });
  return new Failure('IO_ERROR', text, {
    cause,
    remedy: 'Check that the server of the bucket is reachable from this host, then try again.',
  });
}
