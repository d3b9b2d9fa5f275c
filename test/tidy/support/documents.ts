import { dirname, join } from 'node:path';
import { indexLines } from './source-file.ts';

/** Relative links of a page to files that do not exist. */
export function findDeadLinks(page: string, text: string, exists: (path: string) => boolean): string[] {
  const lineAt = indexLines(text);
  return [...text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
    .map((found) => ({ target: found[1] ?? '', line: lineAt(found.index) }))
    .filter(({ target }) => !/^[a-z]+:/.test(target))
    .filter(({ target }) => !exists(join(dirname(page), target)))
    .map(({ target, line }) => `${page}:${line} → ${target}`);
}

/** Paths of this repository that a page names and that do not exist. */
export function findDeadPaths(page: string, text: string, exists: (path: string) => boolean): string[] {
  const lineAt = indexLines(text);
  return [...text.matchAll(/(?<![\w/.-])((?:apps|packages|docs|test|bench|scripts)\/[\w./-]*\w)/g)]
    .filter((found) => !exists(found[1] ?? ''))
    .map((found) => `${page}:${lineAt(found.index)} → ${found[1]}`);
}

/** Dependencies of a package.json whose version is not exact. Packages of this repository are left out. */
export function findLooseVersions(path: string, text: string): string[] {
  const manifest = JSON.parse(text) as Record<string, Record<string, string> | undefined>;
  return ['dependencies', 'devDependencies', 'optionalDependencies']
    .flatMap((kind) => Object.entries(manifest[kind] ?? {}))
    .filter(([name, version]) => !name.startsWith('@lastgood/') && !/^\d+\.\d+\.\d+$/.test(version))
    .map(([name, version]) => `${path}: ${name} ${version}`);
}

/** Paths of one machine, and addresses of a registry in a lockfile. */
export function findPrivatePaths(path: string, text: string): string[] {
  const lineAt = indexLines(text);
  return [...text.matchAll(/\/(?:home|Users)\/[a-z]|\/work\/|"resolved":\s*"http/gi)].map(
    (found) => `${path}:${lineAt(found.index)} ${found[0]}`,
  );
}
