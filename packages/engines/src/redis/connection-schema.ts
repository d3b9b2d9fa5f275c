import { z } from 'zod';

const path = z.string().startsWith('/').max(4096);

const tlsSchema = z
  .strictObject({
    ca: path
      .optional()
      .describe('File of the certificate authority. The authorities of the system are used when absent.'),
    cert: path.optional().describe('File of the certificate that the agent shows; needs `key`.'),
    key: path.optional().describe('File of the private key of `cert`.'),
    servername: z
      .string()
      .min(1)
      .max(255)
      .optional()
      .describe('The name that the certificate of the server must hold; `host` when absent.'),
  })
  .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
    error: 'cert and key belong together',
  });

/** How the agent file describes one Redis or Valkey server. Secrets are in files, never here. */
export const redisConnectionSchema = z
  .strictObject({
    host: z.string().min(1).max(255).optional().describe('Host name or address of the server; or give `socket`.'),
    port: z.int().min(1).max(65_535).default(6379).describe('Port of the server on `host`.'),
    socket: path.optional().describe('Unix socket of the server; or give `host`.'),
    user: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[^\s\0]+$/)
      .default('default')
      .describe('ACL user of the agent.'),
    passwordFile: path
      .optional()
      .describe(
        'File that holds the password and nothing else, readable by its owner alone. Without it no password is sent.',
      ),
    tls: tlsSchema.optional().describe('Connects with TLS and checks the certificate of the server.'),
    binDir: path
      .optional()
      .describe('Folder of redis-server or valkey-server and of their tools; found on the path when absent.'),
    fileAccess: z
      .boolean()
      .default(true)
      .describe(
        'Whether the agent may read the files of the server. Without it an RDB snapshot is fetched as a replica does.',
      ),
    dataDir: path
      .optional()
      .describe(
        'The data folder of the server as this host sees it, such as a volume of a container; asked of the server when absent.',
      ),
    configFile: path
      .optional()
      .describe(
        'The configuration file of the server as this host sees it. Read when the server does not run; found by a backup or in its usual place when absent.',
      ),
    stallMs: z
      .int()
      .min(1_000)
      .max(7 * 86_400_000)
      .default(15 * 60_000)
      .describe('A transfer or a tool without progress for this long has failed.'),
    snapshotMs: z
      .int()
      .min(1_000)
      .max(7 * 86_400_000)
      .default(60 * 60_000)
      .describe('How long the server may take to write a snapshot, with waiting for another one.'),
    scratchFolder: path
      .optional()
      .describe('Where scratch servers put their data; the temporary folder of the system when absent.'),
    scratchUser: z
      .string()
      .regex(/^[a-z_][a-z0-9_-]*$/)
      .default('nobody')
      .describe(
        'The unprivileged user that runs scratch servers when the agent runs as root and the host cannot contain them. Not the user of a production server.',
      ),
  })
  .refine(({ host, socket }) => (host === undefined) !== (socket === undefined), {
    error: 'give either host or socket',
  })
  .refine(({ socket, tls }) => socket === undefined || tls === undefined, {
    error: 'a socket carries no TLS',
    path: ['tls'],
  });
export type RedisConnection = z.infer<typeof redisConnectionSchema>;

/** The address as messages name it. */
export const addressOf = ({ host, port, socket }: RedisConnection): string => socket ?? `${host}:${port}`;
