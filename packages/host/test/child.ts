/** A separate process for tests that limit, trace or kill it. Its first argument selects what it does. */
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Failure } from '@lastgood/core';
import { captureTool, lockFolder, makePrivateFolder, publishFile, runTool } from '../src/index.ts';

const signal = new AbortController().signal;
const codeOf = async (work: Promise<unknown>): Promise<string> =>
  await work.then(
    () => 'done',
    (error: unknown) => (error instanceof Failure ? `${error.code}: ${error.message}` : `not typed: ${String(error)}`),
  );
const print = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value)}\n`);
const echo = () =>
  codeOf(captureTool({ file: '/bin/echo', args: ['hello'], signal, timeoutMs: 60_000, stallMs: 60_000 }));

/** Bytes that encode their own offset, so that a test detects a lost or repeated piece. */
export function patterned(bytes: number): Buffer {
  const all = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) all.writeUInt32LE(at, at);
  return all;
}

async function main([mode = '', ...rest]: string[]): Promise<void> {
  if (mode === 'hold') {
    // Runs a tool until this process dies, and writes the process id of the tool to a file.
    const script = `echo $$ > ${rest[0]}; exec sleep infinity`;
    await runTool({ file: '/bin/sh', args: ['-c', script], signal, timeoutMs: 86_400_000 });
  }
  if (mode === 'lock') {
    // Writes its state to a file, because runTool batches the output.
    const [folder = '', go = '', stateFile = ''] = rest;
    writeFileSync(stateFile, 'ready');
    while (!existsSync(go));
    writeFileSync(stateFile, (await codeOf(lockFolder(folder))).replace('done', 'locked'));
    await new Promise((resolve) => setTimeout(resolve, 60_000));
  }
  if (mode === 'publish') {
    const [path = '', bytes = '0'] = rest;
    const data = patterned(Number(bytes));
    const pieces = Array.from({ length: Math.ceil(data.length / 65_536) }, (_, at) =>
      data.subarray(at * 65_536, (at + 1) * 65_536),
    );
    print(await codeOf(publishFile(path, (sink) => pipeline(Readable.from(pieces), sink))));
  }
  if (mode === 'folder') print(await codeOf(makePrivateFolder(rest[0] ?? '')));
  if (mode === 'first') {
    const [path = '', partial = '', text = ''] = rest;
    print(await publishFile(path, (sink) => pipeline(Readable.from([text]), sink), { partial, ifAbsent: true }));
  }
  if (mode === 'descriptors') {
    const taken: number[] = [];
    await echo(); // Loads everything that is loaded lazily.
    for (;;) {
      try {
        taken.push(openSync('/dev/null', 'r'));
      } catch {
        break;
      }
    }
    const refused = await echo();
    for (const descriptor of taken) closeSync(descriptor);
    print([refused, await echo()]);
  }
  if (mode === 'processes') {
    const limit = (soft: string) =>
      captureTool({
        file: '/usr/bin/prlimit',
        args: ['--pid', String(process.pid), `--nproc=${soft}:`],
        signal,
        timeoutMs: 60_000,
      });
    await limit('1');
    print([await echo()]);
  }
}
if (import.meta.main) await main(process.argv.slice(2));
