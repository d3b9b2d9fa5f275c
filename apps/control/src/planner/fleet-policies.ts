import { Bug } from '@lastgood/core';
import { type FleetFile, fleetFileSchema } from '@lastgood/core/fleet-file';
import type { Catalog } from '../catalog/catalog.ts';

/** The fleet file in force. Revision 0: none was applied yet. */
export interface FleetInForce {
  readonly revision: number;
  readonly file: FleetFile;
}

export const EMPTY_FLEET: FleetInForce = { revision: 0, file: fleetFileSchema.parse({}) };

/** Reads the fleet file in force. */
export async function readFleet(catalog: Catalog): Promise<FleetInForce> {
  const record = await catalog.fleetFiles.current();
  if (record === undefined) return EMPTY_FLEET;
  const parsed = fleetFileSchema.safeParse(record.content);
  // It was checked when it was applied; an older version of the schema would be migrated.
  if (!parsed.success) throw new Bug(`fleet file ${record.revision} of the catalog does not fit its schema`);
  return { revision: record.revision, file: parsed.data };
}
