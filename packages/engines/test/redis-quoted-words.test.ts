import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { quoteWord, splitWords } from '../src/redis/index.ts';

describe('words of a line', () => {
  test.for<{ line: string; words: string[] | null }>([
    { line: 'save 3600 1', words: ['save', '3600', '1'] },
    { line: '  dir\t/var/lib/redis  ', words: ['dir', '/var/lib/redis'] },
    { line: 'save ""', words: ['save', ''] },
    { line: 'dir "/with blank/and \\"quotes\\""', words: ['dir', '/with blank/and "quotes"'] },
    { line: "dir '/it\\'s \\n plain'", words: ['dir', "/it's \\n plain"] },
    { line: 'file "\\xc3\\xbc\\x41\\n\\t\\\\"', words: ['file', 'üA\n\t\\'] },
    { line: 'file grüße.aof', words: ['file', 'grüße.aof'] },
    { line: 'half"quoted"', words: ['halfquoted'] },
    { line: '', words: [] },
    { line: 'open "quotes', words: null },
    { line: "open 'quotes", words: null },
    { line: '"closed"and more', words: null },
  ])('$line → $words', ({ line, words }) => {
    expect(splitWords(line)).toEqual(words);
  });

  test('a quoted word is read as what it was', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'grapheme', minLength: 1 })), (words) => {
        const wellFormed = words.map((word) => word.toWellFormed());
        expect(splitWords(wellFormed.map(quoteWord).join(' '))).toEqual(wellFormed);
      }),
    );
  });
  test('an empty word is quoted', () => {
    expect(quoteWord('')).toBe('""');
  });
});
