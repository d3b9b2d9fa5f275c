import { constants, type Stats } from 'node:fs';
import { access, lstat, readlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';

const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** The limit of the Linux kernel: a path with more symbolic links counts as a loop. */
const MAX_LINKS = 40;

/** Why a program must not be run, and which file, folder or symbolic link of its path causes the problem. */
export interface ProgramProblem {
  readonly code: 'missing' | 'not-a-file' | 'not-executable' | 'foreign-owner' | 'writable-by-others';
  readonly path: string;
}

const PROBLEM_TEXT: Readonly<Record<ProgramProblem['code'], string>> = {
  missing: 'does not exist',
  'not-a-file': 'is not a regular file',
  'not-executable': 'is not executable by the user of the agent',
  'foreign-owner': 'belongs to neither root nor the user of the agent',
  'writable-by-others': 'is writable by other users',
};
/** The problem as the end of a sentence that begins with its path. */
export const problemText = ({ code }: Pick<ProgramProblem, 'code'>): string => PROBLEM_TEXT[code];

/** Checks owner and mode of one file, folder or symbolic link of a path. */
function problemOf(path: string, found: Stats): ProgramProblem | null {
  const own = process.getuid?.() ?? found.uid;
  if (found.uid !== 0 && found.uid !== own) return { code: 'foreign-owner', path };
  // A symbolic link has no mode of its own, and in a sticky folder only the owner of an entry can replace it.
  const open = (found.mode & WRITABLE_BY_OTHERS) !== 0 && !found.isSymbolicLink();
  const sticky = found.isDirectory() && (found.mode & STICKY) !== 0;
  return open && !sticky ? { code: 'writable-by-others', path } : null;
}

async function checkFile(path: string, found: Stats | undefined): Promise<ProgramProblem | null> {
  if (found === undefined) return { code: 'missing', path };
  if (!found.isFile()) return { code: 'not-a-file', path };
  return await access(path, constants.X_OK).then(
    () => null,
    () => ({ code: 'not-executable', path }),
  );
}

/**
 * Checks that only root and the user of this process can replace the program at an absolute path: the file and every folder and symbolic
 * link of the path must belong to one of them and not be writable by others (B16). Returns the first problem, or null.
 */
export async function findProgramProblem(path: string): Promise<ProgramProblem | null> {
  let at = '/';
  let found: Stats | undefined = await lstat(at);
  const ofRoot = problemOf(at, found);
  if (ofRoot !== null) return ofRoot;
  const pending = path.split('/');
  for (let links = 0; pending.length > 0; ) {
    const part = pending.shift() ?? '';
    if (part === '' || part === '.') continue;
    const next = part === '..' ? dirname(at) : join(at, part);
    found = await lstat(next).catch(() => undefined);
    if (found === undefined) return { code: 'missing', path: next };
    const problem = problemOf(next, found);
    if (problem !== null) return problem;
    if (!found.isSymbolicLink()) {
      at = next;
      continue;
    }
    links += 1;
    if (links > MAX_LINKS) return { code: 'missing', path };
    const target = await readlink(next);
    if (target.startsWith('/')) at = '/';
    pending.unshift(...target.split('/'));
  }
  return await checkFile(at, found);
}
