import { once } from 'node:events';
import { type AdminClient, type Connection, connect } from './client.ts';
import { type Output, terminalOutput } from './output.ts';

export interface GlobalOptions {
  readonly url: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}
/** What every command works with; the connection is made when it is first asked for. */
export interface CommandContext {
  readonly url: string;
  readonly output: Output;
  readonly signal: AbortSignal;
  client(): Promise<AdminClient>;
  /** Asks a person to type something; undefined when nobody is there to answer. */
  ask(question: string): Promise<string | undefined>;
}

async function askOnTerminal(question: string, signal: AbortSignal): Promise<string | undefined> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  const { createInterface } = await import('node:readline/promises');
  const prompt = createInterface({ input: process.stdin, output: process.stderr });
  // In raw mode the terminal hands us Ctrl-C as a key; Ctrl-D closes the prompt, and nobody answers any more.
  prompt.on('SIGINT', () => process.kill(process.pid, 'SIGINT'));
  const closed = once(prompt, 'close').then(() => undefined);
  try {
    return await Promise.race([prompt.question(question, { signal }), closed]);
  } catch (error) {
    if (signal.aborted) throw error;
    return undefined;
  } finally {
    prompt.close();
  }
}

export function commandContext(options: GlobalOptions, signal: AbortSignal): CommandContext {
  const connection: Connection = { url: options.url, tokenFile: options.tokenFile, signal };
  let client: Promise<AdminClient> | undefined;
  return {
    url: options.url,
    output: terminalOutput(options.json === true),
    signal,
    client: () => {
      client ??= connect(connection);
      return client;
    },
    // With --json the plan was not shown, so nobody can consent to it by typing.
    ask: async (question) => (options.json === true ? undefined : await askOnTerminal(question, signal)),
  };
}
