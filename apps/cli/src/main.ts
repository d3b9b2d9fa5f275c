import { Failure } from '@lastgood/core';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { type Command, CommanderError } from 'commander';
import { failureOf } from './client.ts';
import { reportFailure } from './output.ts';
import { buildProgram } from './program.ts';
import { Interrupted } from './watch.ts';

const INTERRUPTED = 130;
const TERMINATED = 143;

const stop = new AbortController();
let stoppedWith = INTERRUPTED;
// A reader that went away (`| head`) is not an error.
for (const stream of [process.stdout, process.stderr])
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0);
    if (stream === process.stdout)
      process.stderr.write(`error IO_ERROR: the output could not be written (${error.code})\n`);
    process.exit(ERROR_CATALOG.IO_ERROR.exit);
  });

const program = buildProgram(stop.signal, (status) => {
  process.exitCode = status;
});
// Wrong usage is reported below, like every other failure: once, and as JSON with --json.
const throwInstead = (command: typeof program): void => {
  command.exitOverride().configureOutput({ outputError: () => undefined });
  for (const child of command.commands) throwInstead(child);
};
throwInstead(program);

/** Help on request is not a failure; help because a command is missing was printed already. */
function usage(error: CommanderError, json: boolean): number {
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help' && !json) return ERROR_CATALOG.BAD_INPUT.exit;
  const message = error.code === 'commander.help' ? 'a command is missing' : error.message.replace(/^error: /, '');
  return reportFailure(new Failure('BAD_INPUT', message, { remedy: helpFor(process.argv.slice(2)) }), json);
}

/** Which help to read: that of the command that was typed, as far as there is one. */
function helpFor(args: readonly string[]): string {
  let command: Command = program;
  const path = ['lastgood'];
  for (const arg of args) {
    const next = command.commands.find((each) => each.name() === arg);
    if (next === undefined) continue;
    command = next;
    path.push(arg);
  }
  return command === program
    ? '`lastgood --help` lists the commands.'
    : `\`${path.join(' ')} --help\` shows its arguments and options.`;
}

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
  if (error instanceof CommanderError) process.exitCode = usage(error, json);
  else if (error instanceof Interrupted || stop.signal.aborted) process.exitCode = stoppedWith;
  else process.exitCode = reportFailure(error instanceof Failure ? error : failureOf(error, url), json);
}
