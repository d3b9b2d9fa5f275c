import { createHash } from 'node:crypto';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { Failure } from '@lastgood/core';
import type { Part } from './part-reader.ts';
import type { ObjectAddress, S3Requests } from './s3-requests.ts';

/** Parts on their way at the same time. One more is being collected meanwhile. */
const PARTS_IN_FLIGHT = 2;

export const sha256Base64 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('base64');

export interface MultipartOptions {
  readonly ifAbsent: boolean;
  /** Marks the object as the one of this put: a repeated request recognizes its own earlier success. */
  readonly metadata: Record<string, string>;
}

/** One upload whose id is known. */
class MultipartUpload {
  readonly #requests: S3Requests;
  readonly #address: ObjectAddress;
  readonly #uploadId: string;
  readonly #parts: CompletedPart[] = [];

  constructor(requests: S3Requests, address: ObjectAddress, uploadId: string) {
    this.#requests = requests;
    this.#address = address;
    this.#uploadId = uploadId;
  }

  async store({ number, bytes }: Part, signal: AbortSignal): Promise<void> {
    const ChecksumSHA256 = sha256Base64(bytes);
    const { ETag } = await this.#requests.send(
      `part ${number} of ${this.#address.url}`,
      (options) =>
        this.#requests.client.send(
          new UploadPartCommand({
            ...this.#address.target,
            UploadId: this.#uploadId,
            PartNumber: number,
            Body: bytes,
            ContentLength: bytes.length,
            ChecksumSHA256,
          }),
          options,
        ),
      signal,
    );
    this.#parts.push({ PartNumber: number, ETag, ChecksumSHA256 });
    this.#requests.environment.onStep('part-stored');
  }

  async complete({ ifAbsent, metadata }: MultipartOptions): Promise<void> {
    const what = `the end of the upload of ${this.#address.url}`;
    const Parts = this.#parts.toSorted((a, b) => (a.PartNumber ?? 0) - (b.PartNumber ?? 0));
    await this.#requests.sendOnce(what, this.#address, metadata, (options) =>
      this.#requests.client.send(
        new CompleteMultipartUploadCommand({
          ...this.#address.target,
          UploadId: this.#uploadId,
          MultipartUpload: { Parts },
          ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
        }),
        options,
      ),
    );
  }

  /** Removes the parts. What cannot be removed now is left to `removePartials`. */
  async abort(): Promise<void> {
    const request = new AbortMultipartUploadCommand({ ...this.#address.target, UploadId: this.#uploadId });
    await this.#requests
      .send(`abort of the upload of ${this.#address.url}`, (options) => this.#requests.client.send(request, options))
      .catch((error: unknown) => {
        if (!(error instanceof Failure)) throw error;
      });
  }
}

async function begin(
  requests: S3Requests,
  address: ObjectAddress,
  Metadata: Record<string, string>,
): Promise<MultipartUpload> {
  const { UploadId } = await requests.send(`begin of the upload of ${address.url}`, (options) =>
    requests.client.send(
      new CreateMultipartUploadCommand({ ...address.target, ChecksumAlgorithm: 'SHA256', Metadata }),
      options,
    ),
  );
  if (UploadId === undefined) throw new Failure('IO_ERROR', `${address.url}: the server returned no upload id`);
  return new MultipartUpload(requests, address, UploadId);
}

/**
 * Stores an object of many parts. Nothing is under its name before the last step; when anything fails, the parts are removed. A
 * process that dies leaves an unfinished upload, which `removePartials` finds.
 */
export async function uploadInParts(
  requests: S3Requests,
  address: ObjectAddress,
  parts: AsyncIterable<Part>,
  options: MultipartOptions,
): Promise<void> {
  const { onStep } = requests.environment;
  const upload = await begin(requests, address, options.metadata);
  const stop = new AbortController();
  const running = new Set<Promise<void>>();
  // The first failure ends the upload, also when the source gives nothing for long.
  const { promise: broken, reject: fail } = Promise.withResolvers<never>();
  broken.catch(() => undefined);
  const source = parts[Symbol.asyncIterator]();
  try {
    onStep('upload-created');
    for (;;) {
      const { done, value: part } = await Promise.race([source.next(), broken]);
      if (done === true) break;
      const storing = upload.store(part, stop.signal).finally(() => running.delete(storing));
      storing.catch(fail);
      running.add(storing);
      if (running.size >= PARTS_IN_FLIGHT) await Promise.race([...running, broken]);
    }
    await Promise.race([Promise.all(running), broken]);
    onStep('parts-stored');
    await upload.complete(options);
    onStep('upload-completed');
  } catch (error) {
    stop.abort(error);
    await Promise.allSettled(running);
    // Not awaited: a source that gives nothing for long would keep the upload from ending.
    source.return?.().catch(() => undefined);
    await upload.abort();
    throw error;
  }
}
