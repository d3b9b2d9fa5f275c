import { Command } from 'commander';
import { type CommandContext, commandContext, type GlobalOptions } from './command-context.ts';
import { runDaemon } from './commands/daemons.ts';
import * as jobs from './commands/jobs.ts';
import * as tokens from './commands/tokens.ts';
import * as views from './commands/views.ts';
import { completionScript } from './completion.ts';

type Run = (context: CommandContext) => Promise<number>;
const examples = (...lines: string[]): string => `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}`;
const TARGET = 'target, host/target or environment/host/target';
const BACKUP = 'its id, at least 4 characters of its beginning or end, or latest';
const DEFAULT_URL = 'http://127.0.0.1:7420';

/** The command line. `finish` gets the exit status of the command that ran. */
export function buildProgram(signal: AbortSignal, finish: (status: number) => void): Command {
  const program = new Command('lastgood');
  const act = async (run: Run): Promise<void> =>
    finish(await run(commandContext(program.opts<GlobalOptions>(), signal)));
  program
    .description(
      'If every database of your fleet died now: to when could you go back, how long would it take, when was that last proven?',
    )
    .version('0.1.0')
    .option('--url <url>', 'address of the control plane (or LASTGOOD_URL)', process.env['LASTGOOD_URL'] ?? DEFAULT_URL)
    .option('--token-file <file>', 'file with the token (or LASTGOOD_TOKEN_FILE, LASTGOOD_TOKEN)')
    .option('--json', 'one JSON document instead of tables')
    .showSuggestionAfterError();
  addViews(program, act);
  addJobs(program, act);
  addRestores(program, act);
  addJobViews(program, act);
  addTokens(program, act);
  addDaemons(program, finish);
  program
    .command('completion')
    .description('print completions for bash: source <(lastgood completion)')
    .action(() => {
      process.stdout.write(completionScript(program));
      finish(0);
    });
  return program;
}

type Act = (run: Run) => Promise<void>;

function addViews(program: Command, act: Act): void {
  program
    .command('status')
    .description('the answer for every database; exit 4 when one has no good backup or a target is not in order')
    .argument('[target]', TARGET)
    .option('--max-age <age>', 'exit 4 also when a database could only go back further than this, for example 24h')
    .action((target: string | undefined, options: { maxAge?: string }) =>
      act((context) => views.status(context, target, options)),
    );
  program
    .command('hosts')
    .description('the hosts of the fleet')
    .action(() => act(views.hosts));
  program
    .command('targets')
    .description('the database servers and what is known of them')
    .argument('[target]', TARGET)
    .action((target?: string) => act((context) => views.targets(context, target)));
  program
    .command('backups')
    .description('the backups, newest first')
    .argument('[target]', TARGET)
    .option('--limit <n>', 'at most this many', '50')
    .action((target: string | undefined, options: { limit: string }) =>
      act((context) => views.backups(context, target, options)),
    );
  program
    .command('hold')
    .description('keep a backup from rotation')
    .argument('<backup>', 'its id, or at least 4 characters of its beginning or end')
    .option('--reason <text>', 'why', '')
    .action((backup: string, options: { reason: string }) =>
      act((context) => views.hold(context, backup, true, options.reason)),
    );
  program
    .command('release')
    .description('give a held backup back to rotation')
    .argument('<backup>', 'its id, or at least 4 characters of its beginning or end')
    .action((backup: string) => act((context) => views.hold(context, backup, false, '')));
  program
    .command('audit')
    .description('who changed what')
    .option('--limit <n>', 'at most this many', '50')
    .action((options: { limit: string }) => act((context) => views.audit(context, options)));
}

/** Options of everything that may take long. */
const withTimes = (command: Command): Command =>
  command
    .option('--start-by <age>', 'give up when it has not begun by then, for example 2h')
    .option('--deadline <age>', 'cancel it when it runs longer');

function addJobs(program: Command, act: Act): void {
  withTimes(program.command('backup').description('take a backup').argument('<target>', TARGET))
    .option(
      '--database <name>',
      'only this database; may be given again (default: all)',
      (name: string, before: string[] = []) => [...before, name],
    )
    .option('--digests', 'a digest of every table as well, which level 6 needs')
    .option('--detach', 'do not wait for its end')
    .addHelpText('after', examples('lastgood backup shop', 'lastgood backup prod/db-1/shop --database shop --digests'))
    .action((target: string, options: jobs.BackupOptions) => act((context) => jobs.backup(context, target, options)));
  withTimes(
    program
      .command('verify')
      .description('check a backup; exit 4 when it found something')
      .argument('<target>', TARGET)
      .argument('[backup]', BACKUP, 'latest'),
  )
    .option('--level <0-6>', '0 present, 1 re-read, 2 decoded, 3 listed, 4 restored, 5 counted, 6 equal', '1')
    .addHelpText('after', examples('lastgood verify shop', 'lastgood verify shop 5a1e93d0 --level 6'))
    .action((target: string, backup: string, options: { level: string }) =>
      act((context) => jobs.verify(context, target, backup, options)),
    );
  program
    .command('rotate')
    .description('remove backups that no rule keeps')
    .argument('<target>', TARGET)
    .option('--keep-last <n>', 'keep the newest n')
    .option('--keep-within <age>', 'keep those within this age of the newest, for example 7d')
    .option('--minimum <n>', 'never fewer than this', '1')
    .option('--dry-run', 'only say what would go, and why each stays')
    .option('--confirm <target>', 'consent, by the name of the target')
    .addHelpText(
      'after',
      examples(
        'lastgood rotate shop --keep-last 7 --keep-within 30d --minimum 3 --dry-run',
        'lastgood rotate shop --keep-last 7 --keep-within 30d --minimum 3 --confirm shop',
      ),
    )
    .action((target: string, options: jobs.RotateOptions) => act((context) => jobs.rotate(context, target, options)));
}

function addRestores(program: Command, act: Act): void {
  withTimes(
    program
      .command('restore')
      .description('bring a database back')
      .argument('<target>', TARGET)
      .argument('[backup]', BACKUP, 'latest'),
  )
    .option('--database <name>', 'which database of the backup')
    .option('--to-new <name>', 'into a new database; nothing that exists is touched')
    .option('--swap', 'beside the old one, checked, then swapped in; the old one is kept for undo')
    .option('--in-place', 'over the old one, in one transaction')
    .option('--plan-only', 'show what would happen, and stop')
    .option('--confirm <name>', 'consent, by the name that the plan shows')
    .addHelpText(
      'after',
      examples(
        'lastgood restore shop latest --database shop --to-new shop_copy',
        'lastgood restore shop latest --database shop --swap --plan-only',
        'lastgood restore shop latest --database shop --swap --confirm shop',
      ),
    )
    .action((target: string, backup: string, options: jobs.RestoreOptions) =>
      act((context) => jobs.restore(context, target, backup, options)),
    );
  program
    .command('undo')
    .description('bring back what a swap restore set aside')
    .argument('<target>', TARGET)
    .argument('<job>', 'the id of the restore job, or a part of it')
    .option('--confirm <name>', 'consent, by the name of the database')
    .action((target: string, job: string, options: { confirm?: string }) =>
      act((context) => jobs.undo(context, target, job, options)),
    );
}

function addJobViews(program: Command, act: Act): void {
  program
    .command('jobs')
    .description('the jobs, newest first')
    .argument('[target]', TARGET)
    .option('--limit <n>', 'at most this many', '20')
    .action((target: string | undefined, options: { limit: string }) =>
      act((context) => jobs.listJobs(context, target, options)),
    );
  const job = program.command('job').description('one job');
  job
    .command('watch')
    .description('follow a job to its end; ends with its exit status')
    .argument('<job>')
    .action((id: string) => act((context) => jobs.watch(context, id)));
  job
    .command('show')
    .description('what is known of a job')
    .argument('<job>')
    .action((id: string) => act((context) => jobs.showJob(context, id)));
  job
    .command('cancel')
    .description('stop a job')
    .argument('<job>')
    .action((id: string) => act((context) => jobs.cancelJob(context, id)));
}

function addTokens(program: Command, act: Act): void {
  const group = program.command('tokens').description('the tokens of people, scripts and hosts');
  group
    .command('list', { isDefault: true })
    .description('the tokens; never their secrets')
    .action(() => act(tokens.listTokens));
  group
    .command('create')
    .description('a token for a person or a script')
    .argument('<name>')
    .requiredOption('--scope <scope>', 'read, operate, destroy or admin')
    .option('--expires <age>', 'for example 90d')
    .action((name: string, options: { scope: string; expires?: string }) =>
      act((context) => tokens.createToken(context, name, options)),
    );
  group
    .command('enroll')
    .description('a one-time token that joins one host')
    .argument('<environment>')
    .argument('<host>')
    .option('--expires <age>', 'at most 24h', '1h')
    .option('--replace', 'though the host is enrolled: the token replaces its agent')
    .action((environment: string, host: string, options: { expires: string; replace?: boolean }) =>
      act((context) => tokens.createEnrollToken(context, environment, host, options)),
    );
  group
    .command('revoke')
    .description('end a token')
    .argument('<token>', 'its id')
    .action((id: string) => act((context) => tokens.revokeToken(context, id)));
}

function addDaemons(program: Command, finish: (status: number) => void): void {
  for (const [name, description] of [
    ['control', 'start the control plane (see `lastgood control --help`)'],
    ['agent', 'start the agent of this host, or enroll it (see `lastgood agent --help`)'],
  ] as const) {
    program
      .command(name)
      .description(description)
      .helpOption(false)
      .allowUnknownOption()
      .allowExcessArguments()
      .argument('[args...]', 'passed on as they are')
      // Everything behind the name is the daemon's own, also options that we have too (--url, --token-file).
      .action(async () => finish(await runDaemon(name, process.argv.slice(process.argv.indexOf(name, 2) + 1))));
  }
}
