import { isRecipient } from '@lastgood/repository';
import { z } from 'zod';
import { absolutePath } from './absolute-path.ts';

/** Names of S3 buckets: no dots at the ends, nothing that would be another part of an address. */
const bucketName = z.string().regex(/^[a-z0-9A-Z][A-Za-z0-9._-]{1,61}[a-z0-9A-Z]$/, 'the name of a bucket');
const keyPrefix = z
  .string()
  .max(200)
  .regex(
    /^[A-Za-z0-9_][A-Za-z0-9._-]*(\/[A-Za-z0-9_][A-Za-z0-9._-]*)*$/,
    'letters, digits, ".", "_", "-" and single "/" inside',
  );

const encryptionSchema = z.strictObject({
  recipients: z
    .array(z.string().refine(isRecipient, 'an age recipient (age1...)'))
    .min(1)
    .max(20)
    .describe('Public keys (`age1...`). Any one of their identities decrypts; give at least two that are kept apart.'),
  identityFile: absolutePath
    .optional()
    .describe(
      'A file with an identity, which decrypts. Needed on this host for restores and for verification at level 2 and above; backups need none.',
    ),
});

const common = {
  graceHours: z
    .number()
    .min(0)
    .max(24 * 365)
    .default(24)
    .describe('How long the bytes of a removed backup stay before they are purged.'),
  encryption: encryptionSchema
    .optional()
    .describe('Encrypts all data with age. Backups that exist already stay as they are.'),
};

const folderSchema = z.strictObject({
  type: z.literal('folder'),
  path: absolutePath.describe('The folder of the repository; made with mode 0700 when it is missing.'),
  mustBeMount: absolutePath
    .optional()
    .describe('A folder that must be a mount point, so that an unmounted disk is noticed.'),
  ...common,
});

const s3Schema = z.strictObject({
  type: z.literal('s3'),
  bucket: bucketName.describe('An existing bucket.'),
  prefix: keyPrefix
    .default('')
    .describe('The part of the bucket that is the repository; the whole bucket when absent.'),
  region: z.string().min(1).max(63).default('us-east-1'),
  endpoint: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('The address of the server, for any but AWS.'),
  addressing: z
    .enum(['path', 'virtual-host'])
    .optional()
    .describe(
      'Whether the bucket is in the path or in the host name of a request. When absent: `path` with an `endpoint`, otherwise `virtual-host`.',
    ),
  caFile: absolutePath
    .optional()
    .describe(
      'Certificates (PEM) of the authorities that the server is checked against, instead of those of the system.',
    ),
  credentialsFile: absolutePath
    .optional()
    .describe(
      'Keys in the format of the AWS tools, section `[default]`, readable by the agent alone; read again every minute. When absent: the environment, or the role of the instance.',
    ),
  conditionalPut: z
    .boolean()
    .default(true)
    .describe('False for a server that ignores `If-None-Match`; `lastgood agent check` finds out.'),
  lock: z
    .strictObject({
      mode: z
        .enum(['compliance', 'governance'])
        .default('compliance')
        .describe('`compliance`: nobody can end a lock early. `governance`: those with a special permission can.'),
      days: z.int().min(1).max(36_500).describe('For how long each backup is locked, from its publication on.'),
    })
    .optional()
    .describe('Locks published backups against removal. The bucket must have object lock.'),
  partMiB: z
    .int()
    .min(5)
    .max(512)
    .default(8)
    .describe('The size of the first parts of an upload in MiB. The size doubles every 2,000 parts.'),
  ...common,
});

/** A repository of the agent file. */
export const repositorySchema = z.discriminatedUnion('type', [folderSchema, s3Schema], {
  error: 'unknown type of repository; use one of: folder, s3',
});
export type RepositoryConfig = z.infer<typeof repositorySchema>;
