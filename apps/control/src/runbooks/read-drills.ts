import type { FleetFile } from '@lastgood/core/fleet-file';
import { type DrillStatus, judgeDrills } from '@lastgood/core/runbooks';
import type { Catalog } from '../catalog/catalog.ts';

/** The newest drills that are searched for one that has ended and was not aborted. */
const SEARCHED = 10;

/** How the drills of each runbook of a fleet file compare with its schedule and its RTO. */
export async function readDrills(catalog: Catalog, { runbooks }: FleetFile, nowMs: number): Promise<DrillStatus[]> {
  const entries = Object.entries(runbooks);
  if (entries.length === 0) return [];
  const activeSinceMs = (await catalog.fleetFiles.current())?.appliedAt ?? null;
  return await Promise.all(
    entries.map(async ([name, runbook]) => {
      const drills = await catalog.runbooks.list({ runbook: name, mode: 'drill' }, SEARCHED);
      const lastEnded = drills.find(({ state }) => state === 'succeeded' || state === 'failed');
      const newestStartedMs = drills[0]?.startedAt ?? null;
      return judgeDrills(name, runbook, { lastEnded, newestStartedMs, activeSinceMs }, nowMs);
    }),
  );
}
