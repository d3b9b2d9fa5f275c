import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { Failure } from '@lastgood/core';
import { type AofFileEntry, dataFiles, formatAofManifest, parseAofManifest } from './aof-manifest.ts';
import { type AofFileReport, AofFileWalker, type AofFinding, AofTap, judgeAofFile } from './aof-walker.ts';
import { SourceFile } from './source-file.ts';
import { streamThrough } from './stream-pipeline.ts';

const ATTEMPTS = 10;

export interface AofFolder {
  /** The folder of the set: `appenddirname` below `dir`. */
  readonly path: string;
  /** The setting `appendfilename`: the manifest is named after it. */
  readonly appendFilename: string;
}
export interface AofMember {
  readonly entry: AofFileEntry;
  /** The bytes that belong to the set: of the last file those up to the end of a complete command. */
  readonly bytes: number;
}

export const manifestPath = ({ path, appendFilename }: AofFolder): string => join(path, `${appendFilename}.manifest`);

/**
 * The append-only files of a running server as they were at one moment. All of them are open: what a rewrite replaces or removes
 * meanwhile can still be read, so that nothing has to be paused or linked, and nothing is left behind by a crash.
 */
export class AofSet implements AsyncDisposable {
  readonly members: readonly AofMember[];
  readonly #files: ReadonlyMap<string, SourceFile>;
  private constructor(members: readonly AofMember[], files: ReadonlyMap<string, SourceFile>) {
    this.members = members;
    this.#files = files;
  }

  /** Fails with SOURCE_CHANGED when the set changed during each attempt, TOOL_FAILED when it is incomplete or damaged. */
  static async open(folder: AofFolder, signal: AbortSignal): Promise<AofSet> {
    for (let attempt = 1; ; attempt += 1) {
      signal.throwIfAborted();
      const before = await readManifest(folder);
      const opened = await openAll(folder, dataFiles(parseAofManifest(before)));
      const isSame = (await readManifest(folder)) === before;
      if (isSame && opened.failure === null) return await AofSet.#measure(opened.files, before, signal);
      await closeAll(opened.files.values());
      // A manifest that names a missing file is one that a rewrite has replaced meanwhile, or the set is broken (A20).
      if (isSame && attempt > 1 && opened.failure !== null) throw missing(folder, opened.failure);
      if (attempt === ATTEMPTS)
        throw new Failure('SOURCE_CHANGED', `the append-only files in ${folder.path} change all the time`, {
          remedy: 'Find out what rewrites the append-only files without a pause.',
        });
    }
  }

  static async #measure(
    files: ReadonlyMap<string, SourceFile>,
    manifest: string,
    signal: AbortSignal,
  ): Promise<AofSet> {
    try {
      const entries = dataFiles(parseAofManifest(manifest));
      const members: AofMember[] = [];
      for (const [index, entry] of entries.entries()) {
        const file = files.get(entry.name);
        if (file === undefined) continue;
        const isLast = index === entries.length - 1 && entry.type === 'incremental';
        members.push({ entry, bytes: isLast ? await completeBytes(file, signal) : file.size });
      }
      return new AofSet(members, files);
    } catch (error) {
      await closeAll(files.values());
      throw error;
    }
  }

  /** The manifest of the set as it is copied: without files that wait for their removal. */
  manifest(): string {
    return formatAofManifest(this.members.map(({ entry }) => entry));
  }

  /** Streams one file into the sink and walks it. Fails with TOOL_FAILED when it is damaged. */
  async copy({ entry, bytes }: AofMember, sink: Writable, signal: AbortSignal): Promise<AofFileReport> {
    const file = this.#files.get(entry.name);
    if (file === undefined) throw new Failure('IO_ERROR', `${entry.name} is not part of the set`);
    const tap = new AofTap();
    await streamThrough([file.stream(signal, bytes), tap, sink], signal, `the copy of ${file.path}`);
    const report = tap.report();
    requireWhole(file.path, judgeAofFile(report));
    return report;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await closeAll(this.#files.values());
  }
}

async function readManifest(folder: AofFolder): Promise<string> {
  const path = manifestPath(folder);
  return await readFile(path, 'utf8').catch((error: unknown) => {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Failure('IO_ERROR', `the manifest ${path} cannot be read (${code})`, {
      cause: error,
      remedy: 'Check that appendonly is on, that the server is of version 7.0 or newer, and `dataDir` of the target.',
    });
  });
}

async function openAll(
  folder: AofFolder,
  entries: readonly AofFileEntry[],
): Promise<{ files: Map<string, SourceFile>; failure: Failure | null }> {
  const files = new Map<string, SourceFile>();
  for (const { name } of entries) {
    try {
      files.set(name, await SourceFile.open(join(folder.path, name)));
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      return { files, failure: error };
    }
  }
  return { files, failure: null };
}

async function closeAll(files: Iterable<SourceFile>): Promise<void> {
  for (const file of files) await file[Symbol.asyncDispose]();
}

const missing = (folder: AofFolder, cause: Failure): Failure =>
  new Failure('TOOL_FAILED', `the append-only files in ${folder.path} are incomplete: ${cause.message}`, {
    cause,
    remedy: 'The server could not load them either. Let it write new ones (BGREWRITEAOF), then take the backup again.',
  });

function requireWhole(path: string, findings: readonly AofFinding[]): void {
  const errors = findings.filter(({ severity }) => severity === 'error');
  if (errors.length === 0) return;
  throw new Failure('TOOL_FAILED', `${path} is damaged: ${errors.map(({ code }) => code).join(', ')}`, {
    remedy: 'Check the file with redis-check-aof, and the disk of the database host.',
  });
}

/** A file that is written to may end within a command: only what is complete belongs to the set. */
async function completeBytes(file: SourceFile, signal: AbortSignal): Promise<number> {
  const walker = new AofFileWalker();
  for await (const chunk of file.stream(signal)) walker.push(chunk);
  const report = walker.report();
  const { rdb, commands } = report;
  requireWhole(
    file.path,
    judgeAofFile(report).filter(({ code }) => code !== 'AOF_COMMANDS_TRUNCATED'),
  );
  return rdb === null ? commands.completeBytes : file.size - commands.bytes + commands.completeBytes;
}
