import { readFileSync } from 'node:fs';
import { buildProgram } from '@lastgood/cli';
import type { Command } from 'commander';
import { expect, test } from 'vitest';

const page = readFileSync(new URL('../../docs/tasks.md', import.meta.url), 'utf8');
/** The commands of the tables and blocks. Those of daemons have programs of their own. */
const commands = [...page.matchAll(/(?:^ {4}|`)(lastgood [^`\n]+)/gm)]
  .map((found) => found[1] ?? '')
  .filter((line) => !/^lastgood (agent|control) /.test(line));

/** Parses a command line with the program itself; its actions are replaced. Throws for what the program does not know. */
async function parse(line: string): Promise<string> {
  const program = buildProgram(new AbortController().signal, () => undefined);
  let ran = '';
  const prepare = (command: Command, path: string): void => {
    command.exitOverride().configureOutput({ writeErr: () => undefined });
    if (command.commands.length === 0)
      command.action(() => {
        ran = path;
      });
    for (const child of command.commands) prepare(child, `${path} ${child.name()}`.trim());
  };
  prepare(program, '');
  const words = [...line.matchAll(/"([^"]*)"|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare ?? '');
  await program.parseAsync(words.slice(1), { from: 'user' });
  return ran;
}

test('docs/tasks.md has at least thirty tasks', () => {
  expect(new Set(commands).size).toBeGreaterThanOrEqual(30);
});

test.each([...new Set(commands)])('%s is understood by the command line', async (line) => {
  const ran = await parse(line);
  expect(ran).not.toBe('');
  expect(line.startsWith(`lastgood ${ran}`)).toBe(true);
});

test.each(['lastgood backups fnd shop x', 'lastgood status --maxage 3h', 'lastgood backups find shop'])(
  'this check refuses a command that does not exist: %s',
  async (line) => {
    await expect(parse(line)).rejects.toThrow();
  },
);
