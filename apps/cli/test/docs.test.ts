import { readFileSync } from 'node:fs';
import { ERROR_CATALOG, EXIT_STATUS, FINDING_CATALOG, ROTATION_REASONS } from '@lastgood/protocol';
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

test('every error code is in docs/errors.md with its exit status and its remedy, and no other is', () => {
  const rows = [...page('errors.md').matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (.*) \|$/gm)].map((row) => row.slice(1));
  expect(rows).toEqual(Object.entries(ERROR_CATALOG).map(([code, { exit, remedy }]) => [code, String(exit), remedy]));
});

test('every finding and every reason of a rotation is in docs/findings.md with its message, and no other is', () => {
  const rows = [...page('findings.md').matchAll(/^\| `([A-Z_]+)` \| (.*) \|$/gm)].map((row) => [row[1], row[2]]);
  const findings = Object.entries(FINDING_CATALOG).map(([code, { message, remedy, severity, ...rest }]) => {
    const second = 'refusal' in rest ? `\`${rest.refusal}\`` : severity;
    return [code, `${second} | ${message} | ${remedy ?? ''}`];
  });
  const reasons = Object.entries(ROTATION_REASONS);
  expect(rows).toEqual([...findings, ...reasons]);
});
