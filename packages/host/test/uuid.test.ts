import { occurrenceJobId, uuidv5, uuidv7 } from '@lastgood/host';
import { uuidSchema } from '@lastgood/protocol';
import { expect, test } from 'vitest';

const DNS = '6ba7b810-9dad-11d1-80b4-00c04fd430c8';
const SCHEDULE = '3f2b6f0e-6c1a-4a3e-9a63-0d6b1f6a1c0b';
const DUE = Date.UTC(2026, 0, 15, 2);

test('a UUIDv5 is the one that other implementations derive', () => {
  expect(uuidv5(DNS, 'www.example.com')).toBe('2ed6657d-e927-568b-95e1-2665a8aea6a2');
});

test('an occurrence has one job id, and every other occurrence has another one', () => {
  const jobId = occurrenceJobId(SCHEDULE, DUE);
  expect(uuidSchema.parse(jobId)).toBe(occurrenceJobId(SCHEDULE, DUE));
  expect(occurrenceJobId(SCHEDULE, DUE + 1)).not.toBe(jobId);
  expect(occurrenceJobId(DNS, DUE)).not.toBe(jobId);
});

test('a UUIDv7 sorts by its time', () => {
  expect(uuidSchema.parse(uuidv7(DUE)) < uuidv7(DUE + 1)).toBe(true);
});
