import { answerAt, newestPoint, type TimelineFacts, timelineSpans } from '@lastgood/core/recovery-timeline';
import fc from 'fast-check';
import { expect, test } from 'vitest';

const NOW = Date.UTC(2026, 0, 15, 12);
const HOUR = 3_600_000;
const at = (hoursBefore: number): number => NOW - hoursBefore * HOUR;
const iso = (ms: number): string => new Date(ms).toISOString();

const facts = (more: Partial<TimelineFacts>): TimelineFacts => ({
  fromMs: at(24),
  nowMs: NOW,
  windows: [],
  stream: null,
  backups: [],
  silentSinceMs: null,
  ...more,
});
const backup = (hoursBefore: number, isGood = true) => ({
  backupId: `b${hoursBefore}`,
  atMs: at(hoursBefore),
  isGood,
  method: 'logical',
});
const recoveryWindow = (from: number, to: number) => ({
  from: iso(at(from)),
  to: iso(at(to)),
  isOpen: false,
  branch: '1',
  backups: ['b'],
});
/** The spans as `kind from to`, in hours before now. */
const shown = (given: TimelineFacts): string[] =>
  timelineSpans(given).map(({ kind, fromMs, toMs }) => `${kind} ${(NOW - fromMs) / HOUR} ${(NOW - toMs) / HOUR}`);

test('without a backup, nothing can be restored', () => {
  expect(shown(facts({}))).toEqual(['none 24 0']);
  expect(newestPoint(facts({}))).toBeNull();
});

test('between backups only their recovery points exist, and what is newer would be lost', () => {
  expect(shown(facts({ backups: [backup(20), backup(4)] }))).toEqual(['none 24 20', 'backups 20 4', 'exposed 4 0']);
});

test('a gap between two windows is a span of its own', () => {
  expect(shown(facts({ windows: [recoveryWindow(30, 12), recoveryWindow(8, 1)] }))).toEqual([
    'window 24 12',
    'gap 12 8',
    'window 8 1',
    'exposed 1 0',
  ]);
});

test('an open window reaches as far as the stream has stored', () => {
  const stream = {
    id: 's',
    state: 'running',
    storedTo: null,
    serverAt: null,
    lagBytes: null,
    storedUntil: iso(at(0.5)),
    gaps: [],
  } satisfies TimelineFacts['stream'];
  const windows = [{ ...recoveryWindow(10, 5), isOpen: true }];
  expect(shown(facts({ windows, stream }))).toEqual(['none 24 10', 'window 10 0.5', 'exposed 0.5 0']);
});

test('since the last report everything is unknown, and no earlier state is continued', () => {
  const given = facts({ windows: [recoveryWindow(10, 3)], silentSinceMs: at(2) });
  expect(shown(given)).toEqual(['none 24 10', 'window 10 3', 'exposed 3 2', 'unknown 2 0']);
  expect(answerAt(given, at(1))).toEqual({ kind: 'unknown' });
});

test('a bad backup is not a recovery point', () => {
  const given = facts({ backups: [backup(20), backup(4, false)] });
  expect(shown(given)).toEqual(['none 24 20', 'exposed 20 0']);
  expect(answerAt(given, at(1))).toMatchObject({ kind: 'backup', backup: { backupId: 'b20' } });
});

test.each([
  [at(-1), 'future'],
  [at(5), 'exact'],
  [at(11), 'backup'],
  [at(23), 'none'],
] as const)('the answer for %i is "%s"', (atMs, kind) => {
  const given = facts({ windows: [recoveryWindow(8, 3)], backups: [backup(12), backup(8)] });
  expect(answerAt(given, atMs).kind).toBe(kind);
});

test('spans cover everything from the begin to now, without a gap or an overlap', () => {
  const hours = fc.integer({ min: 0, max: 48 * 60 }).map((minutes) => minutes / 60);
  const windows = fc.array(fc.tuple(hours, hours).map(([a, b]) => recoveryWindow(Math.max(a, b), Math.min(a, b))));
  const backups = fc.array(fc.tuple(hours, fc.boolean()).map(([hour, isGood]) => backup(hour, isGood)));
  const silentSinceMs = fc.option(hours.map((hour) => at(hour)));
  fc.assert(
    fc.property(windows, backups, silentSinceMs, (someWindows, someBackups, silent) => {
      const given = facts({ windows: someWindows, backups: someBackups, silentSinceMs: silent });
      const spans = timelineSpans(given);
      expect(spans[0]?.fromMs).toBe(given.fromMs);
      expect(spans.at(-1)?.toMs).toBe(NOW);
      for (const [index, span] of spans.entries()) {
        expect(span.toMs).toBeGreaterThan(span.fromMs);
        if (index > 0) expect(span.fromMs).toBe(spans[index - 1]?.toMs);
        if (silent !== null && span.kind !== 'unknown')
          expect(span.toMs).toBeLessThanOrEqual(Math.max(silent, given.fromMs));
      }
    }),
  );
});
