import { z } from 'zod';

const path = z.string().startsWith('/').max(4096);

const tlsSchema = z.strictObject({
  ca: path
    .optional()
    .describe('File of the certificate authority. The authorities of the system are used when absent.'),
  verify: z
    .boolean()
    .default(true)
    .describe(
      'Whether to check the certificate of the server. Without it the connection is encrypted, but may be intercepted.',
    ),
});

const scratchSchema = z.strictObject({
  folder: path
    .optional()
    .describe('Where scratch servers and tools put their data; the temporary folder of the system when absent.'),
  user: z
    .string()
    .regex(/^[a-z_][a-z0-9_-]*$/)
    .default('nobody')
    .describe(
      'The unprivileged user that runs scratch servers when the agent runs as root and the host cannot contain them. Not the user of a production server.',
    ),
  heapMb: z.int().min(128).max(65_536).default(512).describe('Heap of scratch servers and of neo4j-admin, in MiB.'),
  pageCacheMb: z
    .int()
    .min(16)
    .max(1_048_576)
    .default(256)
    .describe('Memory beside the heap that scratch servers and neo4j-admin may use, in MiB.'),
  threads: z.int().min(1).max(256).default(1).describe('Processors that scratch servers and neo4j-admin may use.'),
});

/** How the agent file describes one Neo4j server. Secrets are in files, never here. */
export const neo4jConnectionSchema = z.strictObject({
  host: z.string().min(1).max(255).default('127.0.0.1').describe('Host name or address of the Bolt connector.'),
  port: z.int().min(1).max(65_535).default(7687).describe('Port of the Bolt connector.'),
  user: z.string().min(1).max(255).default('neo4j').describe('User of the agent; it needs to read every database.'),
  passwordFile: path
    .optional()
    .describe(
      'File that holds the password and nothing else, readable by its owner alone. Absent when the server requires none.',
    ),
  tls: tlsSchema.optional().describe('Connects with TLS.'),
  home: path.describe('NEO4J_HOME, such as /var/lib/neo4j.'),
  confFolder: path.optional().describe('The folder of neo4j.conf; `conf` in `home` when absent.'),
  dataFolder: path.optional().describe('`server.directories.data`; `data` in `home` when absent.'),
  transactionFolder: path
    .optional()
    .describe('`server.directories.transaction.logs.root`; `transactions` in `dataFolder` when absent.'),
  pluginsFolder: path.optional().describe('`server.directories.plugins`; `plugins` in `home` when absent.'),
  libFolder: path
    .optional()
    .describe('The folder of the jars of the server, such as /usr/share/neo4j/lib; `lib` in `home` when absent.'),
  java: path.optional().describe('The Java that runs tools and scratch servers; found on the path when absent.'),
  copyFolder: path
    .optional()
    .describe(
      'Where copies of the store are made, on the file system of `dataFolder`; `lastgood` in `dataFolder` when absent.',
    ),
  maxPauseSeconds: z
    .number()
    .min(0.1)
    .max(86_400)
    .default(60)
    .describe('A backup that is expected to keep the server from working for longer than this is refused.'),
  queryMs: z
    .int()
    .min(1_000)
    .max(86_400_000)
    .default(60_000)
    .describe('How long (ms) a query of the agent may run, other than the reading of a whole database.'),
  stallMs: z
    .int()
    .min(1_000)
    .max(7 * 86_400_000)
    .default(15 * 60_000)
    .describe('A tool or a transfer without progress for this long (ms) has failed.'),
  scratch: scratchSchema
    .prefault({})
    .describe('Limits of scratch servers, which restore tests start, and of the tools of Neo4j.'),
});
export type Neo4jConnection = z.infer<typeof neo4jConnectionSchema>;
