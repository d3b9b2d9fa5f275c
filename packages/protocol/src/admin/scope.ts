import { z } from 'zod';

/** `read` sees, `operate` makes safe jobs, `destroy` restores, undoes and rotates, `admin` does all and manages tokens. */
export const scopeSchema = z.enum(['read', 'operate', 'destroy', 'admin']);
export type Scope = z.infer<typeof scopeSchema>;
