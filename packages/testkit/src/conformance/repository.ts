import type { Repository } from '@lastgood/core';
import { afterEach, beforeEach, describe } from 'vitest';
import { FaultyStore } from '../object-store/faulty-store.ts';
import { describeCrashes, describeSegmentCrashes } from './repository-crashes.ts';
import { describeDamage, describeListing } from './repository-damage.ts';
import { METHOD, type RepositoryUnderTest } from './repository-harness.ts';
import { describeFailedPublication, describePublication } from './repository-publication.ts';
import { describeDependencies, describeHolds, describeRemoval } from './repository-removal.ts';
import { describeNewerVersions, describeWriters } from './repository-writers.ts';
import { describeSegmentLog } from './segment-log.ts';

/** Tests the guarantees of a repository. Every object store runs the same tests. */
export function describeRepository(name: string, make: () => Promise<RepositoryUnderTest>): void {
  describe(`repository: ${name}`, () => {
    let under: RepositoryUnderTest;
    let faulty: FaultyStore;
    let repository: Repository;
    beforeEach(async () => {
      under = await make();
      faulty = new FaultyStore(under.store);
      repository = await under.open(faulty, { writer: 'ours', understood: [METHOD] });
    });
    afterEach(() => under[Symbol.asyncDispose]());
    const parts = { under: () => under, faulty: () => faulty, repository: () => repository };
    describePublication(parts);
    describeFailedPublication(parts);
    describeCrashes(make);
    describeDamage(parts);
    describeRemoval(parts);
    describeHolds(parts);
    describeDependencies(parts);
    describeNewerVersions(parts);
    describeWriters(parts);
    describeListing(parts);
    describeSegmentLog(parts);
    describeSegmentCrashes(make);
  });
}
