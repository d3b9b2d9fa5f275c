import {
  DeleteObjectCommand,
  HeadObjectCommand,
  ListObjectVersionsCommand,
  PutObjectLegalHoldCommand,
  PutObjectRetentionCommand,
} from '@aws-sdk/client-s3';
import { Failure, type ObjectLocks } from '@lastgood/core';
import { s3ErrorOf } from './s3-errors.ts';
import type { S3Location } from './s3-location.ts';
import type { ObjectAddress, RequestOptions, S3Requests } from './s3-requests.ts';

/** Object lock of a bucket, which keeps every version of an object. */
export class S3Locks implements ObjectLocks {
  readonly #requests: S3Requests;
  readonly #address: (name: string) => ObjectAddress;
  readonly #mode: NonNullable<S3Location['lock']>;

  constructor(requests: S3Requests, address: (name: string) => ObjectAddress, mode: NonNullable<S3Location['lock']>) {
    this.#requests = requests;
    this.#address = address;
    this.#mode = mode;
  }

  async retain(name: string, until: number): Promise<void> {
    if (((await this.lockedUntil(name)) ?? 0) >= until) return;
    const { target, url } = this.#address(name);
    const Retention = {
      Mode: this.#mode === 'compliance' ? ('COMPLIANCE' as const) : ('GOVERNANCE' as const),
      RetainUntilDate: new Date(until),
    };
    await this.#change(`lock of ${url}`, (options) =>
      this.#requests.client.send(new PutObjectRetentionCommand({ ...target, Retention }), options),
    );
  }

  async setHold(name: string, held: boolean): Promise<void> {
    const { target, url } = this.#address(name);
    const LegalHold = { Status: held ? ('ON' as const) : ('OFF' as const) };
    await this.#change(`legal hold of ${url}`, (options) =>
      this.#requests.client.send(new PutObjectLegalHoldCommand({ ...target, LegalHold }), options),
    );
  }

  /** Throws REPOSITORY_UNSAFE when the bucket has no object lock: servers refuse the request with various codes then. */
  async #change(what: string, run: (options: RequestOptions) => Promise<unknown>): Promise<void> {
    try {
      await this.#requests.send(what, run);
    } catch (error) {
      const found = error instanceof Failure ? s3ErrorOf(error.cause) : undefined;
      if (found === undefined || ![400, 404, 409].includes(found.status ?? 0) || found.code === 'NoSuchKey')
        throw error;
      throw new Failure('REPOSITORY_UNSAFE', `${what} failed: ${found.code}`, {
        cause: error,
        remedy:
          'Use a bucket that was created with object lock, or remove `lock` of this repository from the agent file.',
      });
    }
  }

  async lockedUntil(name: string): Promise<number | null> {
    const { target, url } = this.#address(name);
    const found = await this.#requests.absentIfMissing(`request for ${url}`, (options) =>
      this.#requests.client.send(new HeadObjectCommand(target), options),
    );
    return found?.ObjectLockRetainUntilDate?.getTime() ?? null;
  }

  /** Removes every version of an object, so that its bytes are gone. Throws OBJECT_LOCKED when one of them is locked; that one stays. */
  async removeVersions(name: string): Promise<void> {
    const { target, url } = this.#address(name);
    for (const VersionId of await this.#versions(target, url)) {
      try {
        await this.#requests.absentIfMissing(`removal of ${url}`, (options) =>
          this.#requests.client.send(new DeleteObjectCommand({ ...target, VersionId }), options),
        );
      } catch (error) {
        if (!(error instanceof Failure && error.code === 'REPOSITORY_DENIED')) throw error;
        // The server refuses a locked version in the same way as a missing permission.
        const lock = await this.#lockOf(target, url, VersionId);
        if (lock === undefined) throw error;
        throw new Failure('OBJECT_LOCKED', `${url} is locked${lock}`, { cause: error });
      }
    }
  }

  /** The ids of all versions of an object, the newest first, with those of its delete markers. */
  async #versions(target: ObjectAddress['target'], url: string): Promise<string[]> {
    const { Bucket, Key } = target;
    const ids: string[] = [];
    let markers: { KeyMarker?: string | undefined; VersionIdMarker?: string | undefined } | undefined = {};
    while (markers !== undefined) {
      const request: ListObjectVersionsCommand = new ListObjectVersionsCommand({ Bucket, Prefix: Key, ...markers });
      const page = await this.#requests.send(`listing of the versions of ${url}`, (options) =>
        this.#requests.client.send(request, options),
      );
      for (const found of [...(page.DeleteMarkers ?? []), ...(page.Versions ?? [])])
        if (found.Key === Key && found.VersionId !== undefined) ids.push(found.VersionId);
      markers =
        page.IsTruncated === true
          ? { KeyMarker: page.NextKeyMarker, VersionIdMarker: page.NextVersionIdMarker }
          : undefined;
    }
    return ids;
  }

  /** What protects a version, for a message; undefined when nothing does. */
  async #lockOf(target: ObjectAddress['target'], url: string, VersionId: string): Promise<string | undefined> {
    const found = await this.#requests.absentIfMissing(`request for ${url}`, (options) =>
      this.#requests.client.send(new HeadObjectCommand({ ...target, VersionId }), options),
    );
    if (found?.ObjectLockLegalHoldStatus === 'ON') return ' by a legal hold';
    const until = found?.ObjectLockRetainUntilDate;
    return until === undefined ? undefined : ` until ${until.toISOString()}`;
  }
}
