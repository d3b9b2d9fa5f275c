import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ALERTS } from '@lastgood/core/alerts';
import { root } from '@lastgood/testkit';
import { expect, test } from 'vitest';

test('docs/alerts.md explains every alert, with its severity and subject, and no other', () => {
  const page = readFileSync(join(root, 'docs/alerts.md'), 'utf8');
  const rows = [...page.matchAll(/^\| `([a-z_]+)` \| (\w+) \| (\w+) \|/gm)].map((row) => row.slice(1).join(' '));
  expect(rows).toEqual(Object.entries(ALERTS).map(([code, { severity, subject }]) => `${code} ${severity} ${subject}`));
});
