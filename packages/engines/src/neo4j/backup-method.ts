import type { BackupMethodSupport } from '@lastgood/core';
import { Failure } from '@lastgood/core';
import type { Manifest } from '@lastgood/protocol';
import { z } from 'zod';
import { BACKUP_WAYS } from './backup-ways.ts';

/** An archive of `neo4j-admin database dump` per database. */
export const DUMP = {
  engine: 'neo4j',
  method: 'dump',
  roles: ['dump', 'fingerprint', 'configuration'],
} as const satisfies BackupMethodSupport;

/** The ways that this version carries out. The online backup of Enterprise is recognized, but has never been run. */
export const SUPPORTED_WAYS = ['freeze-copy', 'stop-copy-start', 'stop-dump-start'] as const;
export type SupportedWay = (typeof SUPPORTED_WAYS)[number];

/** The options of a backup. */
export const dumpOptionsSchema = z.strictObject({
  digests: z
    .boolean()
    .default(false)
    .describe('Stores digests of all nodes and relationships, for verification at level 6.'),
  way: z.enum(SUPPORTED_WAYS).optional().describe('How the backup is taken; the best possible way when absent.'),
});

const backedUpDatabaseSchema = z.object({
  name: z.string(),
  storeFormat: z.string(),
  /** Size of the unpacked store. */
  storeBytes: z.number(),
  lastTransaction: z.number(),
  /** Null for `system`, and when the graph was not counted. */
  nodes: z.number().nullable(),
  relationships: z.number().nullable(),
});
/** What the manifest records about a backup. */
export const dumpFactsSchema = z.object({
  way: z.enum(BACKUP_WAYS),
  /** How long (ms) the server did not work: until its databases were online again. */
  pauseMs: z.number(),
  digests: z.boolean(),
  edition: z.enum(['community', 'enterprise', 'unknown']),
  defaultDatabase: z.string(),
  /** The jars in the plugins folder. */
  plugins: z.array(z.string()),
  databases: z.array(backedUpDatabaseSchema),
});
export type DumpFacts = z.infer<typeof dumpFactsSchema>;

/** The facts in a manifest. Throws MANIFEST_INVALID when it does not have them. */
export function dumpFactsOf({ engineFacts }: Manifest): DumpFacts {
  const { data } = dumpFactsSchema.safeParse(engineFacts);
  if (data === undefined) throw new Failure('MANIFEST_INVALID', 'the manifest lacks what a dump of Neo4j records');
  return data;
}
