import { readFileSync } from 'node:fs';
import * as wire from '@lastgood/protocol';
import { expect, test } from 'vitest';
import { z } from 'zod';

/** Never edit this file for a change of the schemas: agents in the field send exactly this. */
const file: unknown = JSON.parse(readFileSync(new URL('golden/version-1.json', import.meta.url), 'utf8'));
const golden = z.record(z.string(), z.json()).parse(file);
const schemas: Record<string, z.ZodType> = {
  helloInput: wire.helloInputSchema,
  helloAnswer: wire.helloAnswerSchema,
  commands: z.array(wire.agentCommandSchema),
  ackInput: wire.ackInputSchema,
  requestGrantInput: wire.grantInputSchema,
  requestGrantAnswer: wire.grantAnswerSchema,
  reportInput: wire.reportInputSchema,
  reportAnswer: wire.reportAnswerSchema,
  heartbeatInput: wire.heartbeatInputSchema,
  heartbeatAnswer: wire.heartbeatAnswerSchema,
  inventoryInput: wire.inventoryInputSchema,
  enrollInput: wire.enrollInputSchema,
  enrollAnswer: wire.enrollAnswerSchema,
};

test.each(Object.keys(schemas))('messages of protocol version 1 are understood without loss: %s', (name) => {
  expect({ [name]: schemas[name]?.parse(golden[name]) }).toMatchObject({ [name]: golden[name] });
});

test('no golden message is without a schema', () => {
  expect(Object.keys(golden).toSorted()).toEqual(Object.keys(schemas).toSorted());
});

test.each(Object.keys(schemas).filter((name) => name !== 'commands'))(
  'a field of a newer peer is passed over: %s',
  (name) => {
    const message = z.record(z.string(), z.json()).parse(golden[name]);
    expect(schemas[name]?.parse({ ...message, fieldOfVersion9: true })).toMatchObject(message);
  },
);

test('names that could become paths or shell words are refused on the wire', () => {
  for (const target of ['../etc', 'a/b', '-rf', '', 'A', 'x'.repeat(64), 'shop\n']) {
    expect(
      wire.jobSpecSchema.safeParse({
        command: 'backup',
        target,
        method: null,
        contents: null,
        options: { digests: true },
      }).success,
    ).toBe(false);
  }
});

test('a plain rotate is destructive, its dry run is not', () => {
  const rotate = (dryRun: boolean): wire.JobSpec => ({
    command: 'rotate',
    target: 'shop',
    retention: { minimum: 1 },
    holds: [],
    dryRun,
  });
  expect(wire.classOf(rotate(false))).toBe('destructive');
  expect(wire.classOf(rotate(true))).toBe('safe');
});
