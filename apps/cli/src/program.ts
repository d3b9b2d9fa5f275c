import { Command } from 'commander';
import { commandContext, type GlobalOptions } from './command-context.ts';
import { dashboardLink } from './commands/dashboard.ts';
import { completionScript } from './completion.ts';
import { addDaemonCommands } from './program/daemon-commands.ts';
import { addDailyCommands } from './program/daily-commands.ts';
import { addFleetCommands } from './program/fleet-commands.ts';
import type { Act } from './program/help.ts';
import { addKeyCommands } from './program/key-commands.ts';
import { addNounCommands } from './program/noun-commands.ts';
import { addRestoreCommands } from './program/restore-commands.ts';
import { addRunbookCommands } from './program/runbook-commands.ts';
import { addTokenCommands } from './program/token-commands.ts';

const DEFAULT_URL = 'http://127.0.0.1:7420';

/** The command line: bare verbs for daily work, a plural noun and a verb for the rest. `finish` gets the exit status. */
export function buildProgram(signal: AbortSignal, finish: (status: number) => void): Command {
  const program = new Command('lastgood');
  const act: Act = async (run) => finish(await run(commandContext(program.opts<GlobalOptions>(), signal)));
  program
    .description(
      'If a database died now: to when could it be restored, how long would that take, and when was that last tested?',
    )
    .version('0.1.0')
    .option('--url <url>', 'address of the control plane (or LASTGOOD_URL)', process.env['LASTGOOD_URL'] || DEFAULT_URL)
    .option('--token-file <file>', 'file with the token (or LASTGOOD_TOKEN_FILE, LASTGOOD_TOKEN)')
    .option('--json', 'one JSON document instead of tables')
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError();
  addDailyCommands(program, act);
  addRestoreCommands(program, act);
  addNounCommands(program, act);
  addFleetCommands(program, act);
  addRunbookCommands(program, act);
  addTokenCommands(program, act);
  addKeyCommands(program, finish);
  addDaemonCommands(program, finish);
  program
    .command('dashboard')
    .description('print a link that signs a browser in to the dashboard, once')
    .action(() => act(dashboardLink));
  program
    .command('completion')
    .description('print completions for bash: source <(lastgood completion)')
    .action(() => {
      process.stdout.write(completionScript(program));
      finish(0);
    });
  return program;
}
