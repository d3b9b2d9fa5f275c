import { finished } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { publishFile } from '@lastgood/host';
import { createIdentity } from '@lastgood/repository';

/**
 * `lastgood keys new`: writes a new age identity to a file of mode 0600, in the format of age-keygen, and returns its recipient. Never
 * replaces a file. `now` is in ms since the epoch.
 */
export async function createKeyFile(path: string, now: number): Promise<string> {
  const { identity, recipient } = await createIdentity();
  const lines = [`# created: ${new Date(now).toISOString()}`, `# public key: ${recipient}`, identity, ''];
  const write = async (sink: NodeJS.WritableStream): Promise<void> => {
    sink.end(lines.join('\n'));
    await finished(sink);
  };
  if (!(await publishFile(path, write, { ifAbsent: true })))
    throw new Failure('OBJECT_EXISTS', `${path} exists`, {
      remedy: 'Name another file: an identity that is lost makes backups unreadable.',
    });
  return recipient;
}
