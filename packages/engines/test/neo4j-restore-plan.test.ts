import { formatFinding } from '@lastgood/protocol';
import { describe, expect, test } from 'vitest';
import {
  assessWays,
  type BackupWay,
  parseManagedName,
  planFindingOf,
  planRestore,
  type RestoreSource,
  type RestoreTarget,
  restoreNamesOf,
  type WayFacts,
} from '../src/neo4j/index.ts';

const GIB = 1024 ** 3;
const JOB = '01890a5d-ac96-774b-bcce-b302099a8057';

describe('a restore plan', () => {
  const database = { name: 'neo4j', storeFormat: 'record-aligned-1.1', storeBytes: 10 * GIB, lastTransaction: 900 };
  const system = { name: 'system', storeFormat: 'record-aligned-1.1', storeBytes: GIB, lastTransaction: 41 };
  const source: RestoreSource = {
    serverVersion: '5.26.10',
    databases: [database, system],
    plugins: ['apoc-5.26.10-core.jar', 'graph-data-science.jar'],
  };
  const target: RestoreTarget = {
    serverVersion: '5.26.30',
    edition: 'community',
    defaultDatabase: 'neo4j',
    stores: [{ name: 'neo4j', bytes: 5 * GIB }],
    plugins: ['apoc-5.26.30-core.jar', 'graph-data-science.jar'],
    freeBytes: 100 * GIB,
    canControlService: true,
    maxPauseSeconds: 60,
    stopSeconds: 4,
    startSeconds: 10,
  };
  const codesOf = (changes: Partial<RestoreTarget>, from: Partial<RestoreSource> = {}, wanted = ['neo4j']): string[] =>
    planRestore({ ...source, ...from }, { ...target, ...changes }, wanted).findings.map(
      ({ code, severity }) => `${severity}: ${code}`,
    );
  const KEEPS = 'notice: keeps-users';

  test('says what is read, replaced and needed, and how long the server will be down', () => {
    const plan = planRestore(source, target, ['neo4j']);
    expect(plan).toEqual({
      databases: [{ ...database, replaces: true, replacedBytes: 5 * GIB }],
      spaceNeeded: 11 * GIB,
      expectedDowntimeSeconds: 15,
      expectedPreparationSeconds: 2157,
      findings: [{ code: 'keeps-users', severity: 'notice', params: {} }],
    });
  });

  test('has a finding of the catalog for everything that it finds', () => {
    const bad = { serverVersion: '5.26.9', freeBytes: 0, canControlService: false, maxPauseSeconds: 1, plugins: [] };
    const other = { ...target, ...bad, defaultDatabase: 'other' };
    const databases = [{ ...database, storeFormat: 'block-block-1.1' }, system];
    const wanted = ['neo4j', 'system', 'nosuch'];
    const found = [
      planRestore({ ...source, databases }, other, wanted),
      planRestore({ ...source, serverVersion: 'dev' }, target, ['neo4j']),
      planRestore(source, { ...target, serverVersion: '5.1.0' }, ['neo4j']),
    ].flatMap(({ findings }) => findings.map(planFindingOf));
    const texts = found.map((each) => formatFinding(each.kind === 'refusal' ? each.refusal : each.warning));
    expect(texts).toHaveLength(14);
    for (const text of texts) expect(text).not.toMatch(/\?|undefined|NaN/);
  });

  test.each<[string, string[], Partial<RestoreTarget>, Partial<RestoreSource>, string[]?]>([
    ['a server of an older release', ['refusal: server-older-than-backup'], { serverVersion: '5.25.9' }, {}],
    ['a backup of a later year', ['refusal: server-older-than-backup'], {}, { serverVersion: '2025.12.1' }],
    ['a server of a later year', [], { serverVersion: '2025.12.1' }, {}],
    ['an older patch', ['warning: server-patch-older-than-backup'], { serverVersion: '5.26.9' }, {}],
    ['an unreadable version', ['refusal: unknown-version'], { serverVersion: 'dev' }, {}],
    ['too little space', ['refusal: no-space'], { freeBytes: 11 * GIB - 1 }, {}],
    ['no control of the service', ['refusal: no-service-control'], { canControlService: false }, {}],
    ['a downtime that is not allowed', ['warning: pause-too-long'], { maxPauseSeconds: 14 }, {}],
    ['a plugin that is missing', ['warning: plugin-missing'], { plugins: ['graph-data-science-2.13.jar'] }, {}],
    [
      'a format of Enterprise',
      ['refusal: store-format-unsupported'],
      {},
      { databases: [{ ...database, storeFormat: 'block-block-1.1' }] },
    ],
    [
      'a database that Community does not mount',
      ['refusal: not-the-default-database'],
      { defaultDatabase: 'shop' },
      {},
    ],
  ])('finds %s', (_, expected, changes, from, wanted) => {
    const found = codesOf(changes, from, wanted).filter((code) => code !== KEEPS);
    expect(found).toEqual(expected);
  });

  test('accepts formats and databases of Enterprise on Enterprise', () => {
    const databases = [{ ...database, name: 'shop', storeFormat: 'block-block-1.1' }];
    expect(codesOf({ edition: 'enterprise' }, { databases }, ['shop'])).toEqual([KEEPS]);
  });

  test('warns that `system` replaces users, and refuses a database that is not in the backup', () => {
    expect(codesOf({}, {}, ['neo4j', 'system'])).toEqual(['warning: replaces-users']);
    expect(planRestore(source, target, ['nosuch']).findings).toContainEqual({
      code: 'database-not-in-backup',
      severity: 'refusal',
      params: { database: 'nosuch' },
    });
  });
});

describe('the names of a restore', () => {
  test('are the same for every attempt, distinct for each use, and name the database', () => {
    expect(restoreNamesOf('neo4j', JOB)).toEqual({
      database: 'neo4j',
      staging: 'lastgood-new-b302099a8057-neo4j',
      strays: [1, 2, 3, 4].map((count) => `lastgood-stray${count}-b302099a8057-neo4j`),
      aside: 'lastgood-old-b302099a8057-neo4j',
      undone: 'lastgood-undone-b302099a8057-neo4j',
    });
    expect(parseManagedName('lastgood-old-b302099a8057-neo4j')).toEqual({
      kind: 'old',
      jobSuffix: 'b302099a8057',
      database: 'neo4j',
    });
  });

  test('are names that Neo4j accepts, also for the longest database', () => {
    const { staging } = restoreNamesOf('a'.repeat(63), JOB);
    expect(staging).toMatch(/^[a-z][a-z0-9.-]{2,62}$/);
  });

  test('are never those of a database of somebody else', () => {
    for (const name of [
      'neo4j',
      'lastgood',
      'lastgood-new',
      'lastgood-new-b302099a8057',
      'my-lastgood-new-b302099a8057-x',
    ])
      expect(parseManagedName(name), name).toBeNull();
  });
});

describe('the ways of a backup', () => {
  const facts: WayFacts = {
    edition: 'community',
    hasOnlineBackup: false,
    serverProcess: 'found',
    maySignal: true,
    canReflink: true,
    isLinux: true,
    canControlService: true,
    files: 150,
    storeBytes: GIB,
    freeBytes: 100 * GIB,
    maxPauseSeconds: 600,
  };
  const limitationsOf = (way: BackupWay, changes: Partial<WayFacts>): readonly string[] =>
    assessWays({ ...facts, ...changes }).find((found) => found.way === way)?.limitations ?? ['no such way'];

  test('are assessed best first, with the pause that each is expected to take', () => {
    const found = assessWays(facts);
    expect(found.map(({ way, possible }) => [way, possible])).toEqual([
      ['online-backup', false],
      ['freeze-copy', true],
      ['stop-copy-start', true],
      ['stop-dump-start', true],
    ]);
    const pauses = found.map(({ expectedPauseSeconds }) => expectedPauseSeconds);
    expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
    expect(pauses[1]).toBeLessThan(1);
  });

  test.each<[BackupWay, readonly string[], Partial<WayFacts>]>([
    ['online-backup', ['not-enterprise', 'no-online-backup'], {}],
    ['online-backup', [], { edition: 'enterprise', hasOnlineBackup: true }],
    ['freeze-copy', ['not-linux'], { isLinux: false }],
    ['freeze-copy', ['no-server-process'], { serverProcess: 'not-found', maySignal: false }],
    ['freeze-copy', ['may-not-signal'], { maySignal: false }],
    ['freeze-copy', ['no-reflink'], { canReflink: false }],
    ['freeze-copy', ['no-space'], { freeBytes: 0.2 * GIB }],
    ['freeze-copy', ['pause-too-long'], { files: 400_000 }],
    ['stop-copy-start', ['no-service-control'], { canControlService: false }],
    ['stop-copy-start', ['no-space'], { canReflink: false, freeBytes: GIB }],
    ['stop-copy-start', ['pause-too-long'], { maxPauseSeconds: 30 }],
    ['stop-dump-start', ['no-service-control'], { canControlService: false }],
    ['stop-dump-start', ['pause-too-long'], { maxPauseSeconds: 60 }],
    ['stop-dump-start', [], { canReflink: false, freeBytes: 0, maySignal: false }],
  ])('%s is limited by %j', (way, expected, changes) => {
    expect(limitationsOf(way, changes)).toEqual(expected);
  });
});
