import { isDeepStrictEqual } from 'node:util';
import { HeadObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { Retry } from './retry.ts';
import { failureOf, s3ErrorOf } from './s3-errors.ts';
import type { S3Environment } from './s3-location.ts';

/** An object of the bucket: in requests, and in messages. */
export interface ObjectAddress {
  readonly target: { readonly Bucket: string; readonly Key: string };
  readonly url: string;
}

export interface RequestOptions {
  readonly abortSignal?: AbortSignal;
}
type Run<T> = (options: RequestOptions) => Promise<T>;

/** Sends requests to one server, and repeats those that fail for a while. */
export class S3Requests {
  readonly client: S3Client;
  readonly environment: S3Environment;

  constructor(client: S3Client, environment: S3Environment) {
    this.client = client;
    this.environment = environment;
  }

  /** Sends a request that has the same effect when it is repeated. `what` names it in messages. */
  async send<T>(what: string, run: Run<T>, signal?: AbortSignal): Promise<T> {
    const retry = new Retry(this.environment, what, signal);
    const options = signal === undefined ? {} : { abortSignal: signal };
    for (;;)
      try {
        return await run(options);
      } catch (error) {
        await retry.pause(error);
      }
  }

  /**
   * Sends a request that takes effect once and stores an object with this metadata. When the acknowledgment is lost, a repeated
   * request is refused because of the earlier one: the metadata shows that the object is the one of this put.
   */
  async sendOnce(
    what: string,
    address: ObjectAddress,
    metadata: Record<string, string>,
    run: Run<unknown>,
  ): Promise<void> {
    const retry = new Retry(this.environment, what);
    for (;;)
      try {
        await run({});
        return;
      } catch (error) {
        const isRefused = [404, 412].includes(s3ErrorOf(error)?.status ?? 0);
        if (isRefused && retry.isRepeated && (await this.#isStoredWith(address, metadata))) return;
        await retry.pause(error);
      }
  }

  async #isStoredWith({ target, url }: ObjectAddress, metadata: Record<string, string>): Promise<boolean> {
    const head = (options: RequestOptions) => this.client.send(new HeadObjectCommand(target), options);
    const found = await this.absentIfMissing(`request for ${url}`, head);
    return found !== undefined && isDeepStrictEqual({ ...found.Metadata }, metadata);
  }

  /** Sends a request; undefined when the server responds that there is no such object. */
  async absentIfMissing<T>(what: string, run: Run<T>, signal?: AbortSignal): Promise<T | undefined> {
    return await this.send(
      what,
      async (options) => {
        try {
          return await run(options);
        } catch (error) {
          const found = s3ErrorOf(error);
          if (found?.status === 404 && found.code === 'NoSuchBucket') throw failureOf(found, what, error);
          if (found?.status === 404) return undefined;
          throw error;
        }
      },
      signal,
    );
  }
}
