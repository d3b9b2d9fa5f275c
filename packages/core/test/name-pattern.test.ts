import { expect, test } from 'vitest';
import { matchesPattern } from '../src/index.ts';

test.for<[string, string, boolean]>([
  ['shop', 'shop', true],
  ['shop', 'shop_copy', false],
  ['shop', 'my_shop', false],
  ['*_copy', 'shop_copy', true],
  ['*_copy', 'shop_copy_2', false],
  ['*', '', true],
  ['shop_?', 'shop_1', true],
  ['shop_?', 'shop_10', false],
  ['shop.*', 'shopxy', false],
  ['[a-z]', 'b', false],
  ['(a|b)+$\\', '(a|b)+$\\', true],
  ['tmp ?', 'tmp 😀', true],
  ['a*', 'a\nb', true],
])('pattern %j and name %j: %s', ([pattern, name, matches]) => {
  expect(matchesPattern(name, ['other', pattern])).toBe(matches);
});

test('no pattern matches nothing', () => expect(matchesPattern('shop', [])).toBe(false));
