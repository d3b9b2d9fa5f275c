import { captureTool } from '@lastgood/host';

/**
 * The languages in which errors are tested: English, one in which a server's messages are translated, and one in which only those of
 * its clients and of PL/pgSQL are (PostgreSQL 15).
 */
export const MESSAGE_LOCALES = ['C', 'de_DE.UTF-8', 'pt_BR.UTF-8'] as const;

const spelled = (name: string): string => name.toLowerCase().replaceAll('-', '');

/** Which of some locales this machine lacks; `scripts/test-tools.mjs` installs those of the tests. */
export async function missingLocales(names: readonly string[]): Promise<string[]> {
  const signal = AbortSignal.timeout(10_000);
  const { stdout } = await captureTool({ file: 'locale', args: ['-a'], signal, timeoutMs: 10_000 });
  const found = new Set(stdout.split('\n').map(spelled));
  return names.filter((name) => !found.has(spelled(name)));
}
