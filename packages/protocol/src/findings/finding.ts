import { z } from 'zod';
import { errorCodes, type WireError } from '../errors.ts';
import { FINDING_CATALOG, type FindingCode, type RefusalCode } from './finding-catalog.ts';
import type { MessageParams, ParamsOf } from './message-template.ts';

export const severitySchema = z.enum(['info', 'warning', 'error']);
export type Severity = z.infer<typeof severitySchema>;

export const subjectKindSchema = z.enum([
  'backup',
  'database',
  'extension',
  'host',
  'large objects',
  'locale',
  'materialized view',
  'object',
  'repository',
  'role',
  'sequence',
  'server',
  'setting',
  'table',
  'tablespace',
  'target',
]);
/** What a finding is about. */
export const subjectSchema = z.object({ kind: subjectKindSchema, name: z.string() });
export type Subject = z.infer<typeof subjectSchema>;

export const messageParamsSchema = z.record(
  z.string(),
  z.union([z.string(), z.number(), z.boolean(), z.array(z.string())]),
);

/**
 * What a check found, as data: decide by `code` and `severity`, never by a text. A code is one of FINDING_CATALOG, or of
 * ERROR_CATALOG for a failure that a check met; that of a newer version is kept as it is.
 */
export const findingSchema = z.object({
  code: z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/),
  severity: severitySchema,
  subject: subjectSchema.nullable(),
  params: messageParamsSchema,
});
export type Finding = z.infer<typeof findingSchema>;

/** A finding that stands in the way of an operation, with the error code that the operation fails with because of it. */
export const refusalSchema = findingSchema.extend({ error: z.enum(errorCodes) });
export type Refusal = z.infer<typeof refusalSchema>;

/** A finding of a verification: at which level, and in which stored object. */
export const verificationFindingSchema = findingSchema.extend({ level: z.int(), object: z.string().nullable() });
export type VerificationFinding = z.infer<typeof verificationFindingSchema>;

type Params<C extends FindingCode> = ParamsOf<(typeof FINDING_CATALOG)[C]['message']>;
type Rest<C extends FindingCode> = keyof Params<C> extends never ? [] : [params: Params<C>];

/** Makes a finding of the catalog with the severity that it has there. */
export function makeFinding<C extends FindingCode>(code: C, subject: Subject | null, ...[params]: Rest<C>): Finding {
  return { code, severity: FINDING_CATALOG[code].severity, subject, params: copyParams(params ?? {}) };
}

export function makeRefusal<C extends RefusalCode>(code: C, subject: Subject | null, ...rest: Rest<C>): Refusal {
  return { ...makeFinding(code, subject, ...rest), error: FINDING_CATALOG[code].refusal };
}

const copyParams = (params: object): Finding['params'] =>
  Object.fromEntries(
    Object.entries(params as MessageParams).map(([name, value]) => [
      name,
      typeof value === 'object' ? [...value] : value,
    ]),
  );

/** A failure that a check met instead of an answer. */
export function findingOfError({ code, message, remedy }: WireError, subject: Subject | null): Finding {
  return { code, severity: 'error', subject, params: { message, remedy } };
}
