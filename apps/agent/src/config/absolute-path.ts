import { z } from 'zod';

export const absolutePath = z.string().startsWith('/', 'an absolute path');
