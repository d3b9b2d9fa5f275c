#!/usr/bin/env node
// `lastgood` of this package: in this very process when its Node runs TypeScript, else under the Node that the project brings.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = new URL('../src/main.ts', import.meta.url);
if (process.features.typescript) await import(main.href);
else {
  const withNode = fileURLToPath(new URL('../../../scripts/with-node.mjs', import.meta.url));
  const child = spawn(process.execPath, [withNode, 'node', fileURLToPath(main), ...process.argv.slice(2)], {
    stdio: 'inherit',
  });
  // Ctrl-C reaches the child through the terminal; the others come to us alone.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
  child.on('error', (error) => {
    console.error(error.message);
    process.exit(127);
  });
  child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 143)));
}
