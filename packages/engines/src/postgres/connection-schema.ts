import { databaseNameSchema } from '@lastgood/protocol';
import { z } from 'zod';

/** How the agent file describes one PostgreSQL server. Secrets are in the passfile, never here. */
export const postgresConnectionSchema = z.strictObject({
  /** A host name, an address, or the folder of the server's socket. */
  host: z.string().min(1).max(255),
  port: z.int().min(1).max(65_535).default(5432),
  user: z.string().min(1).max(63),
  /** A file in libpq's format (host:port:database:user:password) that only its owner can read. */
  passfile: z.string().startsWith('/').optional(),
  database: databaseNameSchema.default('postgres'),
  /** The folder of pg_dump, pg_restore and psql. Without it, PATH and the usual folders are searched. */
  binDir: z.string().startsWith('/').optional(),
  sslmode: z.enum(['disable', 'prefer', 'require', 'verify-ca', 'verify-full']).default('prefer'),
  /** A tool that writes no output and no diagnostics for this long counts as hung (A5). */
  stallMs: z
    .int()
    .min(1_000)
    .max(7 * 86_400_000)
    .default(15 * 60_000),
  /** How long a backup waits for a lock that another session holds before it gives up (A14). */
  lockWaitMs: z.int().min(100).max(3_600_000).default(30_000),
  /** Where scratch servers put their data. The default is the system's temporary folder. */
  scratchFolder: z.string().startsWith('/').optional(),
  /** The unprivileged user that runs restored code when the agent is root and the host cannot contain it. It owns no server. */
  scratchUser: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]*$/)
    .default('nobody'),
  /**
   * Libraries of the server's shared_preload_libraries that scratch servers load too. Name only those that you trust: their code runs
   * in the sandbox, without background workers.
   */
  preloadLibraries: z
    .array(z.string().regex(/^[A-Za-z0-9_.-]{1,63}$/))
    .max(50)
    .default([]),
});
export type PostgresConnection = z.infer<typeof postgresConnectionSchema>;
