import { type PostgresOptions, type PostgresServer, startPostgres } from '@lastgood/testkit';
import { afterAll } from 'vitest';
import { EngineHarness } from './engine-harness.ts';

export interface PostgresInUse {
  readonly server: PostgresServer;
  readonly harness: EngineHarness;
  /** Disposed after the tests of the file, before the server. */
  readonly cleanup: AsyncDisposableStack;
}

/** A server with a repository and an engine for all tests of a file. */
export async function usePostgres(options: PostgresOptions = {}): Promise<PostgresInUse> {
  const cleanup = new AsyncDisposableStack();
  afterAll(() => cleanup.disposeAsync());
  const server = cleanup.use(await startPostgres(options));
  const harness = cleanup.use(await EngineHarness.open(server));
  return { server, harness, cleanup };
}
