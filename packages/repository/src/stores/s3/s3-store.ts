import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import {
  assertObjectName,
  assertPrefix,
  Failure,
  type GetOptions,
  isObjectName,
  type ListedObject,
  type ObjectLocks,
  type ObjectStat,
  type ObjectStore,
  type PutOptions,
  type StoreCapabilities,
} from '@lastgood/core';
import { sha256Base64, uploadInParts } from './multipart-upload.ts';
import { streamBody } from './object-body.ts';
import { partsOf } from './part-reader.ts';
import { Retry } from './retry.ts';
import { openS3Client } from './s3-client.ts';
import { s3ErrorOf } from './s3-errors.ts';
import type { S3Environment, S3Location } from './s3-location.ts';
import { S3Locks } from './s3-locks.ts';
import { type ObjectAddress, type RequestOptions, S3Requests } from './s3-requests.ts';

/** Whole seconds: a listing may give fractions that the header of one object does not. */
const instantOf = (date: Date | undefined): number => Math.floor((date?.getTime() ?? 0) / 1_000) * 1_000;

const isReadable = (body: unknown): body is Readable => body instanceof Readable;

/**
 * Objects in a bucket of an S3 server. A large object is uploaded in parts and appears as a whole. Requests that fail are
 * repeated with growing pauses, for as long as the environment says.
 */
export class S3Store implements ObjectStore, Disposable {
  readonly capabilities: StoreCapabilities;
  readonly locks?: ObjectLocks;
  readonly #location: S3Location;
  readonly #versions: S3Locks | undefined;
  readonly #requests: S3Requests;
  /** What the key of each object begins with: empty, or ending with a slash. */
  readonly #keyPrefix: string;

  private constructor(location: S3Location, requests: S3Requests) {
    this.#location = location;
    this.#requests = requests;
    this.#keyPrefix = location.prefix === '' ? '' : `${location.prefix}/`;
    const { conditionalPut, lock } = location;
    this.capabilities = { atomicPut: true, conditionalPut, objectLock: lock !== undefined, localReadBack: false };
    if (lock === undefined) return;
    this.#versions = new S3Locks(requests, (name) => this.#address(name), lock);
    this.locks = this.#versions;
  }

  /** Sends no request. Throws CONFIG_INVALID or DATA_FOLDER_UNSAFE for files of the location that cannot be used. */
  static async open(location: S3Location, environment: S3Environment): Promise<S3Store> {
    return new S3Store(location, new S3Requests(await openS3Client(location, environment), environment));
  }

  [Symbol.dispose](): void {
    this.#requests.client.destroy();
  }

  get #bucket(): { readonly Bucket: string } {
    return { Bucket: this.#location.bucket };
  }

  #address(name: string): ObjectAddress {
    return { target: { ...this.#bucket, Key: `${this.#keyPrefix}${name}` }, url: this.locate(name) };
  }

  locate(name: string): string {
    return `s3://${this.#location.bucket}/${this.#keyPrefix}${name}`;
  }

  async check(): Promise<void> {
    await this.clock();
  }

  async put(name: string, body: Readable | Uint8Array, { ifAbsent = false }: PutOptions = {}): Promise<void> {
    assertObjectName(name);
    if (ifAbsent && !this.capabilities.conditionalPut)
      throw new Failure('COMMAND_UNSUPPORTED', `${this.locate('')} does not support ifAbsent`);
    const source = body instanceof Readable ? body : Readable.from([Buffer.from(body)], { objectMode: false });
    // The error reaches the loop over the parts; it must not end the process when it comes before.
    source.on('error', () => undefined);
    const options = { ifAbsent, metadata: { 'lastgood-put': randomUUID() } };
    const parts = partsOf(source, this.#location.partMiB);
    try {
      const first = await parts.next();
      if (first.done === true) throw new Failure('IO_ERROR', `${this.locate(name)}: the body ended without a part`);
      if (first.value.isLast) await this.#putWhole(name, first.value.bytes, options);
      else {
        const all = (async function* () {
          yield first.value;
          yield* parts;
        })();
        await uploadInParts(this.#requests, this.#address(name), all, options);
      }
      this.#requests.environment.onStep('object-stored');
    } finally {
      source.destroy();
    }
  }

  async #putWhole(
    name: string,
    bytes: Buffer,
    { ifAbsent, metadata }: { readonly ifAbsent: boolean; readonly metadata: Record<string, string> },
  ): Promise<void> {
    const address = this.#address(name);
    const input = {
      ...address.target,
      Body: bytes,
      ContentLength: bytes.length,
      ChecksumSHA256: sha256Base64(bytes),
      Metadata: metadata,
      ...(ifAbsent ? { IfNoneMatch: '*' } : {}),
    };
    await this.#requests.sendOnce(`put of ${address.url}`, address, metadata, (options) =>
      this.#requests.client.send(new PutObjectCommand(input), options),
    );
  }

  async get(name: string, { signal, range }: GetOptions = {}): Promise<Readable> {
    assertObjectName(name);
    signal?.throwIfAborted();
    const { start = 0, end = Number.POSITIVE_INFINITY } = range ?? {};
    if (start >= end) {
      if ((await this.stat(name)) === undefined) throw new Failure('NOT_FOUND', `${this.locate(name)} does not exist`);
      return Readable.from([], { objectMode: false });
    }
    const { target, url } = this.#address(name);
    const what = `read of ${url}`;
    const open = async (offset: number, etag: string | undefined, options: RequestOptions) => {
      const Range = `bytes=${offset}-${end === Number.POSITIVE_INFINITY ? '' : end - 1}`;
      const command = new GetObjectCommand({
        ...target,
        ...(offset === 0 && end === Number.POSITIVE_INFINITY ? {} : { Range }),
        ...(etag === undefined ? {} : { IfMatch: etag }),
      });
      const { Body, ETag, ContentLength = 0 } = await this.#requests.client.send(command, options);
      if (!isReadable(Body)) throw new Failure('IO_ERROR', `${what} returned no bytes`);
      return { body: Body, etag: ETag, size: ContentLength };
    };
    const first = await this.#requests
      .absentIfMissing(what, (options) => open(start, undefined, options), signal)
      .catch((error: unknown) => {
        // The range begins behind the end of the object.
        if (error instanceof Failure && s3ErrorOf(error.cause)?.status === 416) return 'empty' as const;
        throw error;
      });
    if (first === undefined) throw new Failure('NOT_FOUND', `${url} does not exist`);
    if (first === 'empty') return Readable.from([], { objectMode: false });
    return streamBody(
      first.body,
      { start, end: start + first.size },
      async (offset, abortSignal) => (await open(offset, first.etag, { abortSignal })).body,
      (stop) => new Retry(this.#requests.environment, what, stop),
      signal,
    );
  }

  /** The response to HEAD has no code: it is the same for an object and a bucket that are missing. A second request tells them apart. */
  async stat(name: string): Promise<ObjectStat | undefined> {
    assertObjectName(name);
    const { target, url } = this.#address(name);
    const found = await this.#requests
      .absentIfMissing(`request for ${url}`, (options) =>
        this.#requests.client.send(new HeadObjectCommand(target), options),
      )
      .catch(async (error: unknown) => {
        if (error instanceof Failure && error.code === 'REPOSITORY_DENIED') await this.check();
        throw error;
      });
    if (found !== undefined) return { size: found.ContentLength ?? 0, modifiedAt: instantOf(found.LastModified) };
    await this.check();
    return undefined;
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    assertPrefix(prefix);
    for await (const listed of this.#listAll(prefix)) if (isObjectName(listed.name)) yield listed;
  }

  /** The name of an object that no store of this program can have made; undefined when there is none. An empty folder object is none. */
  async findForeignName(): Promise<string | undefined> {
    for await (const { name } of this.#listAll('')) if (name !== '' && !isObjectName(name)) return name;
    return undefined;
  }

  async *#listAll(prefix: string): AsyncGenerator<ListedObject> {
    const Prefix = `${this.#keyPrefix}${prefix}`;
    let token: string | undefined;
    do {
      const request = new ListObjectsV2Command({ ...this.#bucket, Prefix, ContinuationToken: token });
      const page = await this.#requests.send(`listing of ${this.locate(prefix)}`, (options) =>
        this.#requests.client.send(request, options),
      );
      for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
        const name = Key.slice(this.#keyPrefix.length);
        yield { name, stat: { size: Size, modifiedAt: instantOf(LastModified) } };
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async remove(name: string): Promise<void> {
    assertObjectName(name);
    if (this.#versions !== undefined) {
      await this.#versions.removeVersions(name);
      return;
    }
    const { target, url } = this.#address(name);
    await this.#requests.absentIfMissing(`removal of ${url}`, (options) =>
      this.#requests.client.send(new DeleteObjectCommand(target), options),
    );
  }

  /** Aborts the unfinished uploads: the server keeps, and charges for, their parts. */
  async removePartials(prefix: string, isInUse: (name: string) => boolean): Promise<readonly string[]> {
    assertPrefix(prefix);
    const removed = new Set<string>();
    let first: Failure | undefined;
    for await (const { name, uploadId } of this.#unfinishedUploads(prefix)) {
      if (isInUse(name)) continue;
      const { target, url } = this.#address(name);
      await this.#requests
        .absentIfMissing(`abort of the upload of ${url}`, (options) =>
          this.#requests.client.send(new AbortMultipartUploadCommand({ ...target, UploadId: uploadId }), options),
        )
        .then(
          () => removed.add(name),
          (error: unknown) => {
            if (!(error instanceof Failure)) throw error;
            first ??= error;
          },
        );
    }
    if (first !== undefined) throw first;
    return [...removed];
  }

  async *#unfinishedUploads(prefix: string): AsyncGenerator<{ readonly name: string; readonly uploadId: string }> {
    const Prefix = `${this.#keyPrefix}${prefix}`;
    let markers: { KeyMarker?: string | undefined; UploadIdMarker?: string | undefined } | undefined = {};
    while (markers !== undefined) {
      const request: ListMultipartUploadsCommand = new ListMultipartUploadsCommand({
        ...this.#bucket,
        Prefix,
        ...markers,
      });
      const page = await this.#requests.send(`listing of the uploads below ${this.locate(prefix)}`, (options) =>
        this.#requests.client.send(request, options),
      );
      for (const { Key = '', UploadId } of page.Uploads ?? []) {
        const name = Key.slice(this.#keyPrefix.length);
        // Servers may ignore the prefix.
        if (UploadId !== undefined && Key.startsWith(Prefix) && isObjectName(name)) yield { name, uploadId: UploadId };
      }
      markers =
        page.IsTruncated === true
          ? { KeyMarker: page.NextKeyMarker, UploadIdMarker: page.NextUploadIdMarker }
          : undefined;
    }
  }

  /** The `Date` of a response: whole seconds. Asks for a listing, because its errors have a code, unlike those of HEAD. */
  async clock(): Promise<number> {
    const date = await this.#requests.send(`request for ${this.locate('')}`, async (options) => {
      const command = new ListObjectsV2Command({ ...this.#bucket, Prefix: this.#keyPrefix, MaxKeys: 1 });
      let found: string | undefined;
      command.middlewareStack.add(
        (next) => async (args) => {
          const result = await next(args);
          found = dateOf(result.response);
          return result;
        },
        { step: 'deserialize', name: 'readDate' },
      );
      await this.#requests.client.send(command, options);
      return found;
    });
    const now = Date.parse(date ?? '');
    if (Number.isNaN(now)) throw new Failure('IO_ERROR', `${this.locate('')} does not report the time`);
    return now;
  }
}

/** The `date` header of a response of the SDK, which has no type there. */
function dateOf(response: unknown): string | undefined {
  if (typeof response !== 'object' || response === null || !('headers' in response)) return undefined;
  const { headers } = response;
  if (typeof headers !== 'object' || headers === null || !('date' in headers)) return undefined;
  return typeof headers.date === 'string' ? headers.date : undefined;
}
