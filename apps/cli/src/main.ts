import { Failure } from '@lastgood/core';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { CommanderError } from 'commander';
import { failureOf } from './client.ts';
import { reportFailure } from './output.ts';
import { buildProgram } from './program.ts';
import { Interrupted } from './watch.ts';

const INTERRUPTED = 130;
const TERMINATED = 143;

const stop = new AbortController();
let stoppedWith = INTERRUPTED;
// A reader that went away (`| head`) is no error of ours.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? 0 : ERROR_CATALOG.BUG.exit),
);

const program = buildProgram(stop.signal, (status) => {
  process.exitCode = status;
});
const throwInstead = (command: typeof program): void => {
  command.exitOverride();
  for (const child of command.commands) throwInstead(child);
};
throwInstead(program);

const daemon = ['agent', 'control'].includes(process.argv[2] ?? '');
if (!daemon) {
  for (const [signal, status] of [
    ['SIGINT', INTERRUPTED],
    ['SIGTERM', TERMINATED],
  ] as const) {
    process.on(signal, () => {
      stoppedWith = status;
      stop.abort(new Interrupted());
    });
  }
}
try {
  await program.parseAsync();
} catch (error) {
  const { json = false, url = '' } = program.opts<{ json?: boolean; url?: string }>();
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? 0 : ERROR_CATALOG.BAD_INPUT.exit;
  else if (error instanceof Interrupted || stop.signal.aborted) process.exitCode = stoppedWith;
  else process.exitCode = reportFailure(error instanceof Failure ? error : failureOf(error, url), json);
}
