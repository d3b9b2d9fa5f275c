// Runs a command under the Node that the project brings along; works itself on Node 18. `node scripts/with-node.mjs <cmd> [args]`
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** The first that knows `using`. */
const NEEDED = { major: 24, minor: 0 };

/** The folder of a Node that is new enough: the project's own, or the one that runs this. */
function nodeFolder() {
  const bundled = join(root, 'node_modules', `node-${process.platform}-${process.arch}`, 'bin');
  if (existsSync(join(bundled, 'node'))) return bundled;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > NEEDED.major || (major === NEEDED.major && minor >= NEEDED.minor)) return dirname(process.execPath);
  console.error(
    `Node ${NEEDED.major}.${NEEDED.minor} or newer is needed (this is ${process.version}), and none is bundled for ${process.platform}-${process.arch}. Run \`npm ci\`, or install Node 24.`,
  );
  process.exit(69);
}

const folder = nodeFolder();
const env = {
  ...process.env,
  // No build reports anything to anyone.
  TURBO_TELEMETRY_DISABLED: '1',
  PATH: [folder, join(root, 'node_modules', '.bin'), process.env['PATH'] ?? ''].join(delimiter),
};
const [command = 'node', ...args] = process.argv.slice(2);
const child = spawn(command === 'node' ? join(folder, 'node') : command, args, { stdio: 'inherit', env });
// Ctrl-C reaches the child through the terminal; the others come to us alone.
process.on('SIGINT', () => undefined);
for (const signal of ['SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal));
child.on('error', (error) => {
  console.error(error.message);
  process.exit(127);
});
child.on('exit', (code, signal) => process.exit(code ?? (signal === 'SIGINT' ? 130 : 1)));
