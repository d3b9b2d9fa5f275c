import type { FileHandle } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { storeFailure } from '@lastgood/host';

const CHUNK = 1024 * 1024;

/**
 * The bytes of an open file from `start` up to but excluding `end`; the file is closed with the stream. Unlike the stream of Node, it
 * fails with a Failure that names the path and how far the read came.
 */
export function streamFile(file: FileHandle, path: string, start = 0, end = Number.POSITIVE_INFINITY): Readable {
  let at = start;
  return new Readable({
    highWaterMark: CHUNK,
    read() {
      const length = Math.min(CHUNK, end - at);
      if (length <= 0) {
        this.push(null);
        return;
      }
      file.read(Buffer.allocUnsafeSlow(length), 0, length, at).then(
        ({ bytesRead, buffer }) => {
          at += bytesRead;
          this.push(bytesRead === 0 ? null : buffer.subarray(0, bytesRead));
        },
        (error: unknown) => this.destroy(storeFailure(error, `${path}, after ${at - start} bytes`)),
      );
    },
    destroy(error, done) {
      file.close().then(
        () => done(error),
        (failed: unknown) => done(error ?? storeFailure(failed, path)),
      );
    },
  });
}
