import { glob } from 'node:fs/promises';
import { text as readText } from 'node:stream/consumers';
import { Failure } from '@lastgood/core';
import { type ConfigKind, type LeftOut, redactConfig } from './config-secrets.ts';
import { splitWords } from './quoted-words.ts';
import { SourceFile } from './source-file.ts';

const LONGEST = 4 * 1024 * 1024;
const MOST_FILES = 64;

export interface CapturedFile {
  readonly path: string;
  readonly kind: ConfigKind;
  readonly text: string;
  readonly leftOut: readonly LeftOut[];
}
export interface CapturedConfig {
  readonly files: readonly CapturedFile[];
  /** Files that belong to the configuration and could not be read, with the reason. */
  readonly missing: readonly { readonly path: string; readonly reason: string }[];
}
export interface ConfigRequest {
  /** From ServerFacts. Null when the server runs without one. */
  readonly configFile: string | null;
  readonly aclFile: string | null;
  /** True only when what is stored is encrypted. */
  readonly keepSecrets: boolean;
  readonly signal: AbortSignal;
}

/**
 * Reads the configuration file of a server with the files that it includes, and its ACL file. Without `keepSecrets` the secrets are left
 * out and listed. A file that cannot be read is listed as missing: a backup of the data is worth more than none.
 */
export async function captureConfig({
  configFile,
  aclFile,
  keepSecrets,
  signal,
}: ConfigRequest): Promise<CapturedConfig> {
  const files: CapturedFile[] = [];
  const missing: { path: string; reason: string }[] = [];
  const read = async (path: string, kind: ConfigKind): Promise<string | null> => {
    try {
      const original = await readConfigFile(path, signal);
      files.push({ path, kind, ...(keepSecrets ? { text: original, leftOut: [] } : redactConfig(original, kind)) });
      return original;
    } catch (error) {
      if (!(error instanceof Failure) || signal.aborted) throw error;
      missing.push({ path, reason: error.message });
      return null;
    }
  };
  const waiting = configFile === null ? [] : [configFile];
  const seen = new Set<string>();
  for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
    if (seen.has(path)) continue;
    if (seen.size >= MOST_FILES) {
      missing.push({ path, reason: `more than ${MOST_FILES} files are included` });
      break;
    }
    seen.add(path);
    for (const pattern of includesOf((await read(path, 'config')) ?? '')) {
      if (pattern.startsWith('/')) for await (const included of glob(pattern)) waiting.push(included);
      else missing.push({ path: pattern, reason: 'it is relative to the folder in which the server was started' });
    }
  }
  if (aclFile !== null && aclFile !== '') await read(aclFile, 'acl');
  return { files, missing };
}

/** The patterns of `include` lines. */
function includesOf(config: string): string[] {
  return config.split('\n').flatMap((line) => {
    const words = splitWords(line);
    return words?.[0]?.toLowerCase() === 'include' && words[1] !== undefined ? [words[1]] : [];
  });
}

async function readConfigFile(path: string, signal: AbortSignal): Promise<string> {
  await using file = await SourceFile.open(path);
  if (file.size > LONGEST) throw new Failure('IO_ERROR', `${path} is larger than ${LONGEST} bytes`);
  return await readText(file.stream(signal));
}
