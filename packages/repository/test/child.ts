/** One call on a repository in a process of its own, so that its system calls can be traced, failed or cut. Prints what came of it. */
import { buffer } from 'node:stream/consumers';
import { Failure, type Repository } from '@lastgood/core';
import { openFolderRepository } from '../src/index.ts';
import { begin, dump, facts, from, globals, never, publish, ref, understood } from './store.ts';

async function call(repository: Repository, what: string, backupId: string): Promise<unknown> {
  switch (what) {
    case 'list':
      return (await repository.list(ref)).backups.map(({ manifest }) => manifest.backupId);
    case 'broken':
      return (await repository.list(ref)).broken;
    case 'sweep':
      return await repository.sweep(ref, new Set());
    case 'remove':
      return await repository.remove(ref, backupId, 0);
    case 'purge':
      return await repository.purge(ref, 1, 0);
    case 'publish':
      return await publish(repository);
    case 'verify':
      return await repository.verify(ref, backupId, 1, never, () => undefined);
    case 'open': {
      const source = await repository.open(ref, backupId);
      return await Promise.all(
        source.manifest.objects.map(async (each) => (await buffer(source.open(each, never))).length),
      );
    }
    default: {
      const writer = await begin(repository);
      for (const meta of [dump, globals]) await writer.add(meta, from(Buffer.from('rows')));
      await writer.publish(facts, '2026-01-01T00:00:01Z').catch(async (error: unknown) => {
        await writer.abandon();
        throw error;
      });
      return 'published or abandoned';
    }
  }
}

const [path = '', what = '', backupId = ''] = process.argv.slice(2);
const said = await openFolderRepository({ understood, path })
  .then((repository) => call(repository, what, backupId))
  .catch((error: unknown) =>
    error instanceof Failure ? { code: error.code, message: error.message } : `not typed: ${String(error)}`,
  );
process.stdout.write(JSON.stringify(said));
