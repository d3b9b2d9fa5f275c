import { describe, expect, test } from 'vitest';
import { checkStreamSettings } from '../src/postgres/physical/settings-check.ts';

describe('settings', () => {
  const right = {
    wal_level: 'replica',
    max_wal_senders: '10',
    max_replication_slots: '10',
    max_slot_wal_keep_size: '1024',
    archive_mode: 'on',
    archive_command: 'c',
    archive_library: '',
    archive_timeout: '60',
    fsync: 'on',
    full_page_writes: 'on',
  };
  const wanted = {
    archive: { method: 'archive', archiveCommand: 'c', rpoSeconds: 60 },
    receiver: { method: 'receiver', slotLimitMb: 2048, switchSeconds: 30 },
  } as const;
  const check = (method: 'receiver' | 'archive', values: Record<string, string>, maySwitchWal = true) => {
    const settings = Object.entries({ ...right, ...values }).map(([name, value]) => ({
      name,
      value,
      isPendingRestart: false,
    }));
    const { changes, grants, resultingRpoSeconds, unsafe } = checkStreamSettings(
      { settings, role: 'r', mayReplicate: true, mayMonitor: true, maySwitchWal },
      wanted[method],
    );
    return [[...changes.map(({ sql }) => sql), ...grants], resultingRpoSeconds, unsafe];
  };
  const off = { archive_mode: 'off', archive_command: '(disabled)' };
  test.for([
    ['everything is right', 'archive', {}, [[], 60, []]],
    ['everything is right', 'receiver', off, [[], 30, []]],
    ['logical WAL will do', 'receiver', { ...off, wal_level: 'logical' }, [[], 30, []]],
    [
      'M16: a slot may fill the disk',
      'receiver',
      { max_slot_wal_keep_size: '-1' },
      [["ALTER SYSTEM SET max_slot_wal_keep_size = '2048MB';"], null, []],
    ],
    [
      'segments stay open for an hour',
      'archive',
      { archive_timeout: '3600' },
      [["ALTER SYSTEM SET archive_timeout = '60';"], 3600, []],
    ],
    [
      'segments stay open for ever',
      'archive',
      { archive_timeout: '0' },
      [["ALTER SYSTEM SET archive_timeout = '60';"], null, []],
    ],
    [
      'a library archives',
      'archive',
      { archive_library: 'basic_archive' },
      [["ALTER SYSTEM SET archive_library = '';"], null, []],
    ],
    ['a shorter timeout stays', 'archive', { archive_timeout: '10' }, [[], 10, []]],
    ['no sync', 'archive', { fsync: 'off', full_page_writes: 'off' }, [[], 60, ['fsync', 'full_page_writes']]],
  ] as const)('%s (%s)', ([, method, values, expected], { expect }) => {
    expect(check(method, values)).toEqual(expected);
  });
  test('a receiver that may not close segments has no limit, for archive_timeout needs archiving', () => {
    expect(check('receiver', off, false)).toEqual([['GRANT EXECUTE ON FUNCTION pg_switch_wal() TO r;'], null, []]);
    expect(check('receiver', {}, false)).toEqual([['GRANT EXECUTE ON FUNCTION pg_switch_wal() TO r;'], 60, []]);
  });
});
