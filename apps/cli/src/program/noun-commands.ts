import type { Command } from 'commander';
import * as backups from '../commands/backups.ts';
import * as jobViews from '../commands/job-views.ts';
import { dropSetAside, listSetAside } from '../commands/set-aside.ts';
import * as views from '../commands/views.ts';
import { type Act, BACKUP_ID, examples, JOB_ID, TARGET } from './help.ts';

/** The plural nouns and their verbs, tokens aside. */
export function addNounCommands(program: Command, act: Act): void {
  addJobs(program, act);
  addBackups(program, act);
  addSetAside(program, act);
  program
    .command('hosts')
    .description('the hosts of the fleet')
    .command('list')
    .description('list the hosts with the state of their agents')
    .action(() => act(views.listHosts));
  program
    .command('targets')
    .description('the database servers of the fleet')
    .command('list')
    .description('list the targets with their databases and newest backups')
    .argument('[target]', `${TARGET} (default: all)`)
    .action((target?: string) => act((context) => views.listTargets(context, target)));
  program
    .command('audit')
    .description('the record of changes')
    .command('list')
    .description('list who changed what, newest first')
    .option('--limit <n>', 'at most this many', '50')
    .action((options: { limit: string }) => act((context) => views.listAudit(context, options)));
}

function addJobs(program: Command, act: Act): void {
  const jobs = program.command('jobs').description('the executions of commands');
  jobs
    .command('list')
    .description('list the jobs, newest first')
    .argument('[target]', `${TARGET} (default: all)`)
    .option('--limit <n>', 'at most this many', '20')
    .action((target: string | undefined, options: { limit: string }) =>
      act((context) => jobViews.listJobs(context, target, options)),
    );
  jobs
    .command('show')
    .description('show all about a job')
    .argument('<job>', JOB_ID)
    .action((id: string) => act((context) => jobViews.showJob(context, id)));
  jobs
    .command('watch')
    .description('follow a job to its end and exit with its exit status')
    .argument('<job>', JOB_ID)
    .action((id: string) => act((context) => jobViews.watch(context, id)));
  jobs
    .command('cancel')
    .description('stop a job')
    .argument('<job>', JOB_ID)
    .action((id: string) => act((context) => jobViews.cancelJob(context, id)));
}

function addBackups(program: Command, act: Act): void {
  const group = program.command('backups').description('the backups in the catalog');
  group
    .command('list')
    .description('list the backups, newest first')
    .argument('[target]', `${TARGET} (default: all)`)
    .option('--at <instant>', 'only those with a recovery point at or before this instant; the offset is required')
    .option('--limit <n>', 'at most this many', '50')
    .addHelpText('after', examples('lastgood backups list prod/db-1/shop --at 2026-11-23T03:00:00Z --limit 1'))
    .action((target: string | undefined, options: backups.ListOptions) =>
      act((context) => backups.listBackups(context, target, options)),
    );
  group
    .command('show')
    .description('show what a backup contains and what is known about it')
    .argument('<backup>', BACKUP_ID)
    .action((backup: string) => act((context) => backups.showBackup(context, backup)));
  group
    .command('ls')
    .description('list the tables of a backup, with the rows they had')
    .argument('<backup>', BACKUP_ID)
    .option('--name <name>', 'only those of this name, with or without its schema; * stands for any text')
    .addHelpText('after', examples('lastgood backups ls 5a1e93d0', "lastgood backups ls 5a1e93d0 --name 'order*'"))
    .action((backup: string, options: { name?: string }) =>
      act((context) => backups.listContents(context, backup, options)),
    );
  group
    .command('find')
    .description('list the backups that contain a table, newest first; exit status 4 if none does')
    .argument('<target>', TARGET)
    .argument('<name>', 'name of the table, with or without its schema; * stands for any text')
    .addHelpText('after', examples('lastgood backups find prod/db-1/shop customers'))
    .action((target: string, name: string) => act((context) => backups.findInBackups(context, target, name)));
}

function addSetAside(program: Command, act: Act): void {
  const group = program.command('set-aside').description('what restores and undos have set aside');
  group
    .command('list')
    .description('list what is set aside, until somebody drops it')
    .argument('[target]', `${TARGET} (default: all)`)
    .action((target?: string) => act((context) => listSetAside(context, target)));
  group
    .command('drop')
    .description('drop what is set aside; nothing brings it back')
    .argument('<target>', TARGET)
    .argument('<name>', 'name as `set-aside list` shows it')
    .option('--confirm <name>', 'consent, by the same name')
    .action((target: string, name: string, options: { confirm?: string }) =>
      act((context) => dropSetAside(context, target, name, options)),
    );
}
