import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { root, waitFor } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const forever = new AbortController().signal;
const page = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = [...page.matchAll(/<!-- tour -->\n```sh\n([\s\S]*?)```/g)].map((found) => found[1] ?? '');

interface Shell {
  readonly status: number | null;
  readonly output: string;
}
/** Runs a line as if a user pasted it into a terminal. */
async function paste(exported: string, line: string): Promise<Shell> {
  const child = spawn('bash', ['-c', `${exported}\n${line}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [status] = await once(child, 'close');
  return { status, output };
}

test('the commands of the README work as written, and Ctrl-C removes everything', async () => {
  expect(blocks).toHaveLength(2);
  const child = spawn('npm', ['start'], { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const ended = once(child, 'close');
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    printed += text;
  });
  try {
    const exported = await waitFor('the line to paste', 240_000, forever, async () => {
      if (child.exitCode !== null) throw new TypeError(`npm start ended early:\n${printed}`);
      return printed.includes('Ctrl-C removes') ? /^ {2}export .*$/m.exec(printed)?.[0].trim() : undefined;
    });
    const [first = '', second = ''] = blocks;
    let undo = '';
    for (const line of first.trim().split('\n')) {
      const { status, output } = await paste(exported, line);
      expect([line, status]).toEqual([line, 0]);
      undo = /lastgood undo .*/.exec(output)?.[0] ?? undo;
    }
    expect((await paste(exported, undo)).status).toBe(0);
    for (const line of second.trim().split('\n')) {
      const { status, output } = await paste(exported, line);
      expect([line, status]).toEqual([line, 0]);
      if (line.includes('--dry-run')) expect(output).toContain('nothing was removed (dry run)');
      if (line.includes('--json')) expect(JSON.parse(output)).toBeTruthy();
    }
    const token = /LASTGOOD_TOKEN_FILE=(\S+)/.exec(exported)?.[1] ?? '';
    const folder = dirname(dirname(token));
    expect(existsSync(folder)).toBe(true);
    // Ctrl-C reaches every process of the terminal's foreground group.
    process.kill(-(child.pid ?? 0), 'SIGINT');
    await ended;
    expect(printed).toContain('removing everything');
    expect(existsSync(folder)).toBe(false);
  } finally {
    if (child.exitCode === null && child.signalCode === null) process.kill(-(child.pid ?? 0), 'SIGKILL');
  }
});
