import { bytes, duration, instant, shortInstant } from '@lastgood/core/format';
import { type JobResult, type JobView, makeFinding, makeRefusal, type Progress } from '@lastgood/protocol';
import { aRestorePlan } from '@lastgood/testkit';
import { expect, test } from 'vitest';
import { durationMs, instantMs, wholeNumber } from '../src/commands/input.ts';
import { planLines, progressLine, resultLines, stateOf } from '../src/format/job-lines.ts';
import { safeText, shellWord } from '../src/format/safe-text.ts';
import { fitColumns, table } from '../src/format/table.ts';

test.for([
  [0, '0 B'],
  [999, '999 B'],
  [512.333, '512 B'],
  [999.7, '1.00 kB'],
  [1000, '1.00 kB'],
  [15_340, '15.3 kB'],
  [999_400, '999 kB'],
  [999_999, '1.00 MB'],
  [1_530_000_000, '1.53 GB'],
  [5e18, '5000 PB'],
] as const)('%d bytes read as %s', ([value, text]) => expect(bytes(value)).toBe(text));

test.for([
  [0, '0.0 s'],
  [400, '0.4 s'],
  [12_000, '12 s'],
  [723_000, '12 min 3 s'],
  [3_600_000, '1 h'],
  [100 * 3_600_000, '4 d 4 h'],
] as const)('%d ms read as %s', ([value, text]) => expect(duration(value)).toBe(text));

test('an instant carries the offset of the zone it is shown in', () => {
  expect(instant('2026-11-23T22:34:24Z')).toMatch(/^2026-11-2[34] \d\d:\d\d:24[+-]\d\d:\d\d$/);
  expect(new Date(instant('2026-11-23T22:34:24Z').replace(' ', 'T')).toISOString()).toBe('2026-11-23T22:34:24.000Z');
  expect(instant('no time')).toBe('-');
});

test('a duration has units; a bare number, zero and other text are refused with the name of the option', () => {
  const parse = (text: string): number => durationMs('--expires', text) / 60_000;
  expect(['90m', '1h30m', '12h', '30d', '2w'].map(parse)).toEqual([90, 90, 720, 43_200, 20_160]);
  for (const text of ['7', '', '0d', '-1d', '90min', '1d ', '1.5h'])
    expect(() => parse(text)).toThrow(`--expires: not a duration: "${text}"`);
});

test('an instant has an offset; a local time, a date and other text are refused with the name of the option', () => {
  expect(instantMs('--at', '2026-11-23T14:03:20-03:00')).toBe(Date.UTC(2026, 10, 23, 17, 3, 20));
  expect(instantMs('--at', '2026-11-23T17:03:20.500Z')).toBe(Date.UTC(2026, 10, 23, 17, 3, 20, 500));
  for (const text of ['2026-11-23T14:03:20', '2026-11-23', 'yesterday', '', '2026-13-01T00:00:00Z'])
    expect(() => instantMs('--at', text)).toThrow(`--at: not an instant with an offset: "${text}"`);
});

test('a whole number outside its bounds is refused with the name of the option', () => {
  expect(wholeNumber('--level', '6', 0, 6)).toBe(6);
  for (const text of ['7', '-1', '1.5', '1e0', '', ' 1'])
    expect(() => wholeNumber('--level', text, 0, 6)).toThrow('--level takes a whole number from 0 to 6');
});

test('a name with terminal escapes, line ends or reordering marks becomes visible text', () => {
  expect(safeText('a\u001b[31mred\u009b2J\r\n\u202egnp\u007f')).toBe(
    'a\\u001b[31mred\\u009b2J\\u000d\\u000a\\u202egnp\\u007f',
  );
  expect(safeText('Größe 売上 😀')).toBe('Größe 売上 😀');
});

test('what we advise to type stays one word of a shell', () => {
  expect(shellWord('shop_prod')).toBe('shop_prod');
  expect(shellWord('my shop')).toBe("'my shop'");
  expect(shellWord("x'; rm -rf ~; '")).toBe("'x'\\''; rm -rf ~; '\\'''");
});

test('the widest column gives way first, down to its longest word', () => {
  expect(fitColumns([10, 40, 30], [5, 5, 5], 64)).toEqual([10, 25, 25]);
  expect(fitColumns([36, 40], [36, 8], 60)).toEqual([36, 22]);
  expect(fitColumns([36, 40], [36, 8], 45)).toBe(undefined);
});

test('a table wraps between words to fit the terminal', () => {
  const drawn = table(['backup', 'reason'], [['0b8f2c1e', 'one of the last few that are kept']], '', 30);
  expect(drawn).toEqual(['BACKUP    REASON', '0b8f2c1e  one of the last few', '          that are kept']);
});

test('a table that cannot be made to fit becomes a block for each row, with no word broken', () => {
  const name = 'a-long-name-of-a-database';
  expect(
    table(
      ['backup', 'databases'],
      [
        ['0b8f2c1e', name],
        ['0b8f9999', name],
      ],
      '',
      30,
    ),
  ).toEqual(['backup     0b8f2c1e', `databases  ${name}`, '', 'backup     0b8f9999', `databases  ${name}`]);
  expect(table(['a'], [], 'There are none.')).toEqual(['There are none.']);
});

test('an instant in a table is short and still says its offset', () => {
  expect(shortInstant('2026-11-23T22:34:24Z')).toMatch(/^2026-11-2[34] \d\d:\d\d[+-]\d\d(:[1-9]\d)?$/);
});

test('a table neutralises what is in its cells', () => {
  expect(table(['name'], [['x\u001b]0;owned\u0007']], '', undefined)).toEqual(['NAME', 'x\\u001b]0;owned\\u0007']);
});

const progress: Progress = {
  jobId: '0b8f2c1e-7a55-4c53-9b8e-0a6f4c8f9d11',
  attempt: 1,
  phase: 'dump',
  doneBytes: 500_000_000,
  totalBytes: 2_000_000_000,
  bytesPerSecond: 100_000_000,
  at: 0,
};
test('progress says phase, bytes, rate and the time that is left', () => {
  expect(progressLine(progress)).toBe('dump · 500 MB of about 2.00 GB · 100 MB/s · about 15 s left');
});
test('progress claims no time left when the total is unknown or passed, or nothing moves', () => {
  expect(progressLine({ ...progress, totalBytes: null })).toBe('dump · 500 MB · 100 MB/s');
  expect(progressLine({ ...progress, totalBytes: 400_000_000 })).not.toContain('left');
  expect(progressLine({ ...progress, bytesPerSecond: 0 })).toBe('dump · 500 MB of about 2.00 GB');
  expect(progressLine({ ...progress, doneBytes: 0, bytesPerSecond: 0 })).toBe('dump');
});

const plan = aRestorePlan({
  backupId: progress.jobId,
  into: 'shop\u001b[2J',
  readBytes: 1000,
  needBytes: 3000,
  freeBytes: null,
  estimatedMs: 90_000,
  missing: [{ kind: 'role', name: 'clerk' }],
  details: [
    { label: 'version of the backup', value: '15.18', unit: 'text' },
    { label: 'memory', value: 2_000, unit: 'bytes' },
  ],
  warnings: [makeFinding('SESSIONS_WILL_END', { kind: 'database', name: 'shop\u001b[2J' }, { sessions: 3 })],
  refusals: [makeRefusal('SERVER_IS_STANDBY', null)],
});
test('a plan shows what is read, replaced, missing, the space, the versions, and hides no escape', () => {
  const text = planLines(plan).join('\n');
  for (const part of [
    'reads       1.00 kB',
    'needs about 3.00 kB; free unknown',
    'replaces    shop (kept aside for undo)',
    'missing     role clerk',
    'takes       about 1 min 30 s',
    'version of the backup 15.18',
    'memory      2.00 kB',
    'warning     database "shop\\u001b[2J" has 3 open sessions, which will be ended',
    'refused     the server is a standby\n              Restore on its primary.',
    '"shop\\u001b[2J"',
  ])
    expect(text).toContain(part);
  expect(text).not.toContain('\u001b');
});

test('findings of a verification are listed with level and object', () => {
  const lines = resultLines({
    command: 'verify',
    backupId: progress.jobId,
    level: 2,
    reached: 1,
    passed: false,
    findings: [{ level: 2, object: 'shop.dump', ...makeFinding('OBJECT_DAMAGED_NEAR_BLOCK', null, { block: 7 }) }],
    remarks: [],
    durationMs: 400,
    at: '2026-11-23T22:00:00Z',
  });
  expect(lines).toEqual([
    `FAILED: backup ${progress.jobId} reached level 1 of 2 (0.4 s)`,
    '  level 2  shop.dump: the stored bytes differ from the manifest; the first damage is in or before block 7 (of 1 MiB)',
  ]);
});

test('a result that was cut to be sent says so', () => {
  const result: JobResult = {
    command: 'rotate',
    dryRun: true,
    decisions: [],
    keptCount: 900,
    removedCount: 0,
    freedBytes: 0,
  };
  expect(resultLines({ ...result, truncated: true }).at(-1)).toContain('too long to be sent whole');
  expect(resultLines(result).at(-1)).toContain('900 stay');
});

test('a queued job of an offline host says so', () => {
  const base = { state: 'queued', hostOnline: false, error: null, endedAt: null, cancelRequested: false };
  const job = { ...base, waitingFor: [] as JobView['waitingFor'] } as JobView;
  expect(stateOf(job)).toBe('queued (host is offline)');
  expect(stateOf({ ...job, state: 'running', cancelRequested: true })).toBe('running (cancel asked)');
});

test('db-D7: a job that waits for others names the first of them', () => {
  const ahead = { jobId: '00000000-0000-4000-8000-000012345678', command: 'verify', target: 'main' };
  const base = { state: 'accepted', hostOnline: true, error: null, endedAt: null, cancelRequested: false };
  const job = { ...base, waitingFor: [ahead] as JobView['waitingFor'] } as JobView;
  expect(stateOf(job)).toBe('accepted, waiting for verify of main (job 12345678)');
  expect(stateOf({ ...job, waitingFor: [ahead, ahead] })).toContain(' and 1 more');
});
