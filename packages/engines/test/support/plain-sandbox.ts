import { findScratchUser, type Sandbox, uncontainedSandbox } from '@lastgood/host';

/** Runs scratch servers like any other process, as nobody where the tests run as root: for tests that are not about their containment. */
export const plainSandbox = async (): Promise<Sandbox> =>
  uncontainedSandbox(process.getuid?.() === 0 ? await findScratchUser('nobody', new AbortController().signal) : null);
