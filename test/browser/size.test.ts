import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { root } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const dist = join(root, 'apps/web/dist');
const read = (path: string): string => readFileSync(join(dist, path), 'utf8');

/** The scripts that a script imports before it runs, itself included. */
function withImports(path: string, seen = new Set<string>()): Set<string> {
  if (seen.has(path)) return seen;
  seen.add(path);
  for (const [, name] of read(path).matchAll(/(?:from|import)\s*["']\.\/([\w.-]+\.js)["']/g))
    withImports(`assets/${name}`, seen);
  return seen;
}

const gzipped = (paths: Iterable<string>): number =>
  [...paths].reduce((sum, path) => sum + gzipSync(read(path)).length, 0);

const entry = /src="\/(assets\/[\w.-]+\.js)"/.exec(read('index.html'))?.[1] ?? '';

test('what is loaded before the first page has at most 120 kB when compressed', () => {
  const bytes = gzipped(withImports(entry));
  expect(bytes).toBeGreaterThan(50_000);
  expect(bytes).toBeLessThanOrEqual(120_000);
});

test('the whole dashboard has at most 230 kB when compressed', () => {
  const names = new Set([...read(entry).matchAll(/assets\/([\w.-]+\.js)/g)].map(([, name]) => `assets/${name}`));
  const all = new Set([...withImports(entry), ...[...names].flatMap((name) => [...withImports(name)])]);
  expect(gzipped(all)).toBeLessThanOrEqual(230_000);
});

test('the page has neither inline scripts nor inline styles, and names no other host', () => {
  const page = read('index.html');
  expect(page).not.toMatch(/<style|style=|<script(?![^>]*src=)/);
  expect(page).not.toMatch(/https?:\/\//);
});
