import { z } from 'zod';

/** The largest time that a Date can hold, in milliseconds. */
const MAX_DATE_MS = 8.64e15;
const YEAR_2100_MS = 4_102_444_800_000;
const DAY_MS = 86_400_000;

/** Milliseconds since 1970. Any clock can report it, also one that is wrong by centuries. */
export const epochMsSchema = z.number().min(-MAX_DATE_MS).max(MAX_DATE_MS);
/** The time of the control plane, which agents calculate with. */
export const controlTimeSchema = z.number().min(0).max(YEAR_2100_MS);
/** The deadline of a job: at most a year. */
export const deadlineMsSchema = z
  .number()
  .positive()
  .max(366 * DAY_MS);
/** A duration of a schedule: at most a year. */
export const scheduleMsSchema = z
  .number()
  .min(0)
  .max(366 * DAY_MS);
