import { describe, expect, test } from 'vitest';
import { commentsOf, pageProse, stringsOf } from './support/prose.ts';
import { definedIds, findUndefinedIds, idsIn, idsOfTitle, idsWithStatus } from './support/references.ts';
import { pages, readText, sources, tests } from './support/repository.ts';

const faultPage = readText('docs/faults.md');
const faults = definedIds(faultPage);
const invariants = definedIds(readText('docs/ARCHITECTURE.md')).filter((id) => id.startsWith('I'));
const rules = definedIds(readText('docs/protocol.md')).filter((id) => id.startsWith('R'));
const inTitles = tests.flatMap(stringsOf).flatMap(idsOfTitle);

describe('definitions', () => {
  test('docs/faults.md defines every id once, and numbers each group from 1 without a gap', () => {
    const groups = Map.groupBy(faults, (id) => id.slice(0, 1));
    expect([...groups.keys()].toSorted().join('')).toBe('ABCDEFGHJKLMN');
    for (const [letter, ids] of groups) expect(ids).toEqual(ids.map((_, index) => `${letter}${index + 1}`));
  });

  test('every fault is tested or planned, every measurement tested or measured', () => {
    const [tested, planned, measured] = ['tested', 'planned', 'measured'].map((each) => idsWithStatus(faultPage, each));
    expect([tested, planned, measured].flat().toSorted()).toEqual(faults.toSorted());
    expect(planned?.filter((id) => id.startsWith('M'))).toEqual([]);
    expect(measured?.filter((id) => !id.startsWith('M'))).toEqual([]);
  });

  test('docs/ARCHITECTURE.md defines the invariants, docs/protocol.md the delivery rules', () => {
    expect(invariants).toEqual(Array.from({ length: 12 }, (_, index) => `I${index + 1}`));
    expect(rules).toEqual(Array.from({ length: 18 }, (_, index) => `R${index + 1}`));
  });
});

describe('references', () => {
  test('every id that a comment, a test title or a page names is defined', () => {
    const used = [
      ...sources.flatMap(commentsOf).flatMap(idsIn),
      ...pages.flatMap((page) => idsIn(pageProse(page, readText(page)))),
      ...inTitles,
    ];
    expect(findUndefinedIds(used, [...faults, ...invariants, ...rules])).toEqual([]);
  });

  test('the faults with the status tested are those that begin the title of a test', () => {
    const titled = new Set(inTitles.map(({ id }) => id).filter((id) => faults.includes(id)));
    expect(idsWithStatus(faultPage, 'tested').toSorted()).toEqual([...titled].toSorted());
  });
});
