import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  durationSchema,
  formatDuration,
  formatProblems,
  parseDuration,
  problemsOfIssues,
  YamlText,
} from '../../src/config-file/index.ts';

describe('a YAML text', () => {
  test('gives the place of each problem, also of keys that are missing or unknown', () => {
    const schema = z.strictObject({ a: z.strictObject({ b: z.number(), c: z.string() }), d: z.array(z.number()) });
    const text = new YamlText('a:\n  b: x\n  e: 1\nd:\n  - 1\n  - two\n');
    const problems = problemsOfIssues(schema.safeParse(text.content).error?.issues ?? []).map((each) =>
      text.locate(each),
    );
    expect(formatProblems('file.yaml', problems)).toMatchInlineSnapshot(`
      "file.yaml:2:3 a.c Invalid input: expected string, received undefined
      file.yaml:2:6 a.b Invalid input: expected number, received string
      file.yaml:3:6 a.e unknown key
      file.yaml:6:5 d.1 Invalid input: expected number, received string"
    `);
  });

  test.for([
    {
      text: 'a: [1\n',
      problem: 'f:2:1 Flow sequence in block collection must be sufficiently indented and end with a ]',
    },
    { text: 'a: 1\na: 2\n', problem: 'f:2:1 Map keys must be unique' },
    { text: 'a: &x 1\nb: *x\n', problem: 'f:2:4 aliases are not supported' },
  ])('refuses $text', ({ text, problem }) => {
    const { problems, content } = new YamlText(text);
    expect(formatProblems('f', problems)).toBe(problem);
    expect(content).toBeNull();
  });
});

describe('durations', () => {
  test.for([
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['7d', 604_800_000],
    ['2w', 1_209_600_000],
    ['0s', 0],
  ] as const)('%s is %d ms', ([text, ms]) => {
    expect(parseDuration(text)).toBe(ms);
    expect(parseDuration(formatDuration(ms))).toBe(ms);
  });
  test.for(['', '1', 'h', '1 h', '1m1h', '-1h', '1.5h', '999999w', '1h30'])('refuses "%s"', (text) => {
    expect(durationSchema.safeParse(text).success).toBe(false);
  });
});
