import { z } from 'zod';

/** Identifies one session of one agent. Every call within it carries this id. */
export const sessionIdSchema = z.string().min(1).max(128);
