/** Verifies one backup to level 4 in a process of its own, which a test kills. Arguments: connection as JSON, repository, backup id, working folder. */
import { noSteps } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { openFolderRepository } from '@lastgood/repository';
import { testLimits } from '@lastgood/testkit';
import { createPostgresEngine, postgresMethods } from '../../src/postgres/index.ts';

const [connection = '{}', path = '', backupId = '', workDir = ''] = process.argv.slice(2);
const repository = await openFolderRepository({ understood: postgresMethods, path });
const source = await repository.open({ environment: 'test', host: 'db-1', target: 'shop' }, backupId);
const { signal } = new AbortController();
const context = {
  workDir,
  signal,
  clock: systemClock,
  steps: noSteps,
  progress: () => undefined,
  log: () => undefined,
};
await createPostgresEngine(JSON.parse(connection), { restoreFolders: {}, restoreTests: testLimits }).verify(
  4,
  source,
  context,
);
