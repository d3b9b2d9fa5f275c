import { Bug, type EngineDefinition, type Repository } from '@lastgood/core';
import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { testEngineBackups } from './engine-backups.ts';
import { testEngineFailures } from './engine-failures.ts';
import { EngineHarness, type EngineSubject } from './engine-harness.ts';
import { testEngineRestores } from './engine-restores.ts';

export interface EngineUnderTest {
  readonly definition: EngineDefinition;
  /** Starts a server with no data, once for all tests. */
  readonly open: () => Promise<EngineSubject>;
  /** Creates a repository in a new folder that can hold the backups of the engine. */
  readonly openRepository: (path: string) => Promise<Repository>;
  /** Why the server cannot be started on this machine; null when it can. */
  readonly absent?: string | null;
  /** Cuts off a test that hangs; longer for servers that take long to start. */
  readonly timeoutMs?: number;
}

const START_MS = 180_000;

/** The tests that every engine passes with each of its backup methods, on a real server. */
export function describeEngine(name: string, under: EngineUnderTest): void {
  const absent = under.absent ?? null;
  describe(name, { timeout: under.timeoutMs ?? START_MS }, () => {
    let opened: EngineHarness | undefined;
    const harness = (): EngineHarness => {
      if (opened === undefined) throw new Bug('the server was not started');
      return opened;
    };
    beforeAll(async () => {
      if (absent === null) opened = await EngineHarness.open(under.definition, under.open, under.openRepository);
    }, START_MS);
    beforeEach(({ skip }) => skip(absent !== null, absent ?? ''));
    afterAll(async () => await opened?.[Symbol.asyncDispose](), START_MS);

    testEngineBackups(harness);
    testEngineRestores(harness);
    testEngineFailures(harness);
  });
}
