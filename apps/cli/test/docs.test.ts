import { readFileSync } from 'node:fs';
import { ERROR_CATALOG, EXIT_STATUS, FINDING_CATALOG, FINDING_GROUPS, ROTATION_REASONS } from '@lastgood/protocol';
import type { Command } from 'commander';
import { expect, test } from 'vitest';
import { buildProgram } from '../src/index.ts';

const page = (name: string): string => readFileSync(new URL(`../../../docs/${name}`, import.meta.url), 'utf8');
const program = buildProgram(new AbortController().signal, () => undefined);

function commandsOf(command: Command, path: string): { path: string; options: string[] }[] {
  const options = command.options.flatMap((option) => (option.long ? [option.long] : []));
  return [
    { path, options: options.filter((name) => name !== '--version') },
    ...command.commands.flatMap((child) => commandsOf(child, `${path} ${child.name()}`)),
  ];
}

test('every command of the program is in docs/cli.md with every option', () => {
  const text = page('cli.md');
  const sections = new Map(
    text.split(/^### /m).map((section) => [/^`([^`\n]+)`/.exec(section)?.[1] ?? '', section] as const),
  );
  const missing = commandsOf(program, 'lastgood').flatMap(({ path, options }) => {
    const section = sections.get(path);
    return section === undefined
      ? [path]
      : options.filter((option) => !section.includes(`\`${option}`)).map((option) => `${path} ${option}`);
  });
  expect(missing).toEqual([]);
});

test('docs/cli.md names only commands that exist', () => {
  const known = new Set(commandsOf(program, 'lastgood').map(({ path }) => path));
  const told = [...page('cli.md').matchAll(/^### `([^`\n]+)`/gm)].map((found) => found[1] ?? '');
  expect(told.filter((path) => !known.has(path))).toEqual([]);
});

test('the exit statuses of docs/cli.md are those of the catalog', () => {
  const rows = [...page('cli.md').matchAll(/^\| (\d+) \| (.*) \|$/gm)].map((row) => [Number(row[1]), row[2]]);
  expect(rows).toEqual(Object.values(EXIT_STATUS).map(({ status, meaning }) => [status, meaning]));
});

test('every argument and option has a text in its help', () => {
  const textless = (command: Command, path: string): string[] => [
    ...command.registeredArguments
      .filter(({ description }) => description === '')
      .map((each) => `${path} ${each.name()}`),
    ...command.options.filter(({ description }) => description === '').map(({ flags }) => `${path} ${flags}`),
    ...(command.description() === '' ? [path] : []),
    ...command.commands.flatMap((child) => textless(child, `${path} ${child.name()}`)),
  ];
  expect(textless(program, 'lastgood')).toEqual([]);
});

const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const tableOf = (columns: readonly string[], rows: readonly string[]): string =>
  [row(...columns), row(...columns.map(() => '---')), ...rows].join('\n');

/** The page with everything from the first match of `from` on replaced by `text`. */
function withEnd(content: string, from: RegExp, text: string): string {
  const start = content.search(from);
  if (start < 0) throw new Error(`nothing matches ${from}`);
  return `${content.slice(0, start)}${text}\n`;
}

test('docs/errors.md lists every error code with its exit status and remedy (vitest -u writes it)', async () => {
  const rows = Object.entries(ERROR_CATALOG).map(([code, { exit, remedy }]) => row(`\`${code}\``, exit, remedy));
  const table = tableOf(['code', 'exit status', 'what to do'], rows);
  await expect(withEnd(page('errors.md'), /^\| code \| exit status/m, table)).toMatchFileSnapshot(
    '../../../docs/errors.md',
  );
});

test('docs/findings.md lists every finding and reason with its message (vitest -u writes it)', async () => {
  const content = page('findings.md');
  const sections = FINDING_GROUPS.map(({ title, findings }) => {
    const refusals = Object.values(findings).some((finding) => 'refusal' in finding);
    const rows = Object.entries(findings).map(([code, { message, remedy, severity, ...rest }]) =>
      row(`\`${code}\``, 'refusal' in rest ? `\`${rest.refusal}\`` : severity, message, remedy ?? ''),
    );
    const columns = ['code', refusals ? 'error' : 'severity', 'message', 'what to do'];
    return `## ${title}\n\n${tableOf(columns, rows)}\n`;
  });
  const [, introduction = ''] = /^## Reasons of a rotation\n\n([^|]*)/m.exec(content) ?? [];
  const reasons = tableOf(
    ['code', 'reason'],
    Object.entries(ROTATION_REASONS).map(([code, reason]) => row(`\`${code}\``, reason)),
  );
  const end = [...sections, `## Reasons of a rotation\n\n${introduction}${reasons}`].join('\n');
  await expect(withEnd(content, /^## Stored objects/m, end)).toMatchFileSnapshot('../../../docs/findings.md');
  expect(FINDING_GROUPS.flatMap(({ findings }) => Object.keys(findings))).toEqual(Object.keys(FINDING_CATALOG));
});
