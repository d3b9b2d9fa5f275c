import type { RecoveryWindow, StreamReport } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import { newestInstant, streamStateOf, windowAt } from '../src/recovery/windows.ts';

const at = (minute: number): string => new Date(Date.UTC(2026, 5, 1, 12, minute)).toISOString();
const ms = (minute: number): number => Date.parse(at(minute));
const windowOf = (from: number, to: number, more: Partial<RecoveryWindow> = {}): RecoveryWindow => ({
  from: at(from),
  to: at(to),
  isOpen: false,
  branch: '1',
  backups: [`backup-${from}`],
  ...more,
});
const streamOf = (storedUntil: number | null, more: Partial<StreamReport> = {}): StreamReport => ({
  id: 'wal',
  state: 'running',
  storedTo: null,
  serverAt: null,
  lagBytes: null,
  storedUntil: storedUntil === null ? null : at(storedUntil),
  gaps: [],
  ...more,
});

describe('windowAt', () => {
  const windows = [windowOf(0, 10), windowOf(20, 30, { isOpen: true })];
  test.for([
    [0, 'backup-0'],
    [10, 'backup-0'],
    [15, undefined],
    [20, 'backup-20'],
    [31, undefined],
  ] as const)('at minute %i: %s', ([minute, backup]) => {
    expect(windowAt({ windows }, ms(minute))?.backups[0]).toBe(backup);
  });
  test('an open window reaches as far as the stream has stored since, a closed one does not', () => {
    expect(windowAt({ windows, stream: streamOf(45) }, ms(40))?.backups).toEqual(['backup-20']);
    expect(windowAt({ windows, stream: streamOf(45) }, ms(15))).toBeNull();
  });
});

describe('newestInstant', () => {
  test('is the end of the newest window, with the backup that a restore starts from', () => {
    const windows = [windowOf(0, 10, { backups: ['a', 'b'] })];
    expect(newestInstant({ windows })).toEqual({ atMs: ms(10), backupId: 'b' });
  });
  test('moves on with the stream while the window is open', () => {
    const windows = [windowOf(0, 10, { isOpen: true })];
    expect(newestInstant({ windows, stream: streamOf(12) })?.atMs).toBe(ms(12));
    expect(newestInstant({ windows, stream: streamOf(null) })?.atMs).toBe(ms(10));
  });
  test('is null without a window', () => {
    expect(newestInstant({})).toBeNull();
  });
});

describe('streamStateOf', () => {
  const gap = { gaps: [{ from: '0/1', to: '0/2' }] };
  test.for([
    ['no stream', {}, null],
    ['stalled', { stream: streamOf(1, { state: 'stalled' }) }, 'stopped'],
    ['turned off', { stream: streamOf(1, { state: 'stopped' }) }, 'stopped'],
    ['a gap and no backup behind it', { stream: streamOf(1, gap), windows: [windowOf(0, 1)] }, 'gap'],
    [
      'a gap before the newest backup',
      { stream: streamOf(1, gap), windows: [windowOf(0, 1, { isOpen: true })] },
      'running',
    ],
    ['in order', { stream: streamOf(1) }, 'running'],
  ] as const)('%s', ([, reported, state]) => {
    expect(streamStateOf(reported)).toBe(state);
  });
});
