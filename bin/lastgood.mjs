#!/usr/bin/env node
// `lastgood`: put this folder on PATH. Finds the Node that the project brings along, whatever runs this file.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const args = [
  join(root, 'scripts/with-node.mjs'),
  'node',
  join(root, 'apps/cli/src/main.ts'),
  ...process.argv.slice(2),
];
process.on('SIGINT', () => undefined);
const { status } = spawnSync(process.execPath, args, { stdio: 'inherit' });
process.exit(status ?? 1);
