import { systemClock } from '@lastgood/host';
import type { S3Server } from '@lastgood/testkit';
import { type S3Environment, type S3Location, S3Store } from '../../src/s3.ts';

let prefixes = 0;

export interface S3TestStore extends AsyncDisposable {
  readonly store: S3Store;
  readonly location: S3Location;
  /** Another instance over the same prefix, as a later process would have. */
  reopen(location?: Partial<S3Location>, environment?: Partial<S3Environment>): Promise<S3Store>;
}

/** A store in a prefix of its own of the server's bucket. */
export async function s3TestStore(
  server: S3Server,
  credentialsFile: string,
  more: Partial<S3Location> = {},
  surroundings: Partial<S3Environment> = {},
): Promise<S3TestStore> {
  const location: S3Location = {
    bucket: server.bucket,
    prefix: `test/${++prefixes}`,
    region: server.region,
    endpoint: server.endpoint,
    addressing: 'path',
    credentialsFile,
    conditionalPut: true,
    partMiB: 5,
    ...more,
  };
  const environment: S3Environment = {
    clock: systemClock,
    random: Math.random,
    retryForMs: 10_000,
    idleMs: 10_000,
    onStep: () => undefined,
    ...surroundings,
  };
  const opened = new DisposableStack();
  const reopen: S3TestStore['reopen'] = async (otherLocation, otherEnvironment) =>
    opened.use(await S3Store.open({ ...location, ...otherLocation }, { ...environment, ...otherEnvironment }));
  return { store: await reopen(), location, reopen, [Symbol.asyncDispose]: async () => opened.dispose() };
}
