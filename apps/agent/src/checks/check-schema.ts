import { durationSchema } from '@lastgood/core';
import { engines } from '@lastgood/engines';
import { nameSchema } from '@lastgood/protocol';
import { z } from 'zod';
import { httpCheckSchema } from './http-check.ts';
import { tcpCheckSchema } from './tcp-check.ts';

/** The kinds that need no target, with their options. */
const hostKinds = {
  http: httpCheckSchema.optional().describe('A web server answers as expected.'),
  tcp: tcpCheckSchema.optional().describe('A port accepts connections.'),
};
const engineOfKind = new Map(engines.flatMap(({ name, checks }) => checks.map((kind) => [kind.name, name] as const)));
const engineKinds = Object.fromEntries(
  engines.flatMap(({ title, checks }) =>
    checks.map(({ name, description, optionsSchema }) => [
      name,
      optionsSchema.optional().describe(`${title}: ${description}`),
    ]),
  ),
);
const KINDS = [...Object.keys(hostKinds), ...Object.keys(engineKinds)];

/** A check of the agent file: exactly one kind with its options. */
export const checkSchema = z
  .strictObject({
    target: nameSchema.optional().describe('The target of this file that it asks; needed by the kinds of an engine.'),
    within: durationSchema.default(30_000).describe('It is tried again until it passes, for so long; 30s when absent.'),
    ...hostKinds,
    ...engineKinds,
  })
  .superRefine((check, context) => {
    const kinds = KINDS.filter((kind) => Reflect.get(check, kind) !== undefined);
    const [kind] = kinds;
    if (kind === undefined || kinds.length > 1) {
      context.addIssue(`use exactly one of ${KINDS.join(', ')}`);
      return;
    }
    const engine = engineOfKind.get(kind);
    if (engine !== undefined && check.target === undefined) context.addIssue(`"${kind}" needs a target`);
    if (engine === undefined && check.target !== undefined) context.addIssue(`"${kind}" has no target`);
  });
export type CheckConfig = z.output<typeof checkSchema>;

/** The kind of a check with its options. The schema makes sure that there is exactly one. */
export function kindOf(check: CheckConfig): { readonly kind: string; readonly options: unknown } {
  const kind = KINDS.find((each) => Reflect.get(check, each) !== undefined) ?? '';
  return { kind, options: Reflect.get(check, kind) };
}

/** The engine whose targets a kind of check asks; undefined for a kind without target. */
export const engineNeededBy = (kind: string): string | undefined => engineOfKind.get(kind);
