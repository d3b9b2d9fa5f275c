import { Failure } from '@lastgood/core';
import type { Command } from 'commander';
import * as holds from '../commands/holds.ts';
import * as jobs from '../commands/jobs.ts';
import { type StatusOptions, status } from '../commands/status.ts';
import { type VerifyAllOptions, verifyAll } from '../commands/verify-all.ts';
import { type Act, AT, BACKUP, BACKUP_ID, examples, TARGET, withTimes } from './help.ts';

/** The bare verbs of daily work, restores aside. */
export function addDailyCommands(program: Command, act: Act): void {
  addStatus(program, act);
  addBackup(program, act);
  addVerify(program, act);
  addRotate(program, act);
  addHolds(program, act);
}

function addStatus(program: Command, act: Act): void {
  program
    .command('status')
    .description('recovery point, restore time and last restore test of every database')
    .argument('[target]', `${TARGET} (default: all)`)
    .option('--max-age <duration>', 'the newest recovery point may be this old, for example 24h (default: any age)')
    .option('--fail-on <state>', 'exit status 4 from this state on: at-risk or missed', 'at-risk')
    .option('--env <name>', 'only this environment')
    .option('--nagios', 'print and exit as a Nagios plugin: 0 ok, 1 warning, 2 critical, 3 unknown')
    .option('--junit', 'print a JUnit report')
    .addHelpText(
      'after',
      examples(
        'lastgood status',
        'lastgood --json status prod/db-1/shop --max-age 26h --fail-on missed',
        'lastgood status --env prod --max-age 26h --nagios',
      ),
    )
    .action((target: string | undefined, options: StatusOptions) => act((context) => status(context, target, options)));
}

function addBackup(program: Command, act: Act): void {
  withTimes(program.command('backup').description('take a backup').argument('<target>', TARGET))
    .option('--method <name>', 'how it is taken, such as logical or physical (default: the first of the engine)')
    .option(
      '--database <name>',
      'only this database; may be repeated (default: all)',
      (name: string, before: string[] = []) => [...before, name],
    )
    .option('--digests', 'also store digests of the data, which verification level 6 needs')
    .option('--detach', 'do not wait for its end')
    .addHelpText(
      'after',
      examples(
        'lastgood backup shop',
        'lastgood backup shop --method physical',
        'lastgood backup prod/db-1/shop --database shop --digests',
      ),
    )
    .action((target: string, options: jobs.BackupOptions) => act((context) => jobs.backup(context, target, options)));
}

function addVerify(program: Command, act: Act): void {
  withTimes(
    program
      .command('verify')
      .description('check a backup; exit status 4 if it found something')
      .argument('[target]', TARGET)
      .argument('[backup]', BACKUP),
  )
    .option('--all', 'the newest backup of every target; those that have passed the level are not verified again')
    .option('--env <name>', 'with --all: only this environment')
    .option('--max-age <duration>', 'with --all: an older newest backup is a finding, for example 24h')
    .option('--junit', 'with --all: print a JUnit report')
    .option('--at <instant>', AT)
    .option('--level <0-6>', '0 present, 1 re-read, 2 decoded, 3 listed, 4 restored, 5 counted, 6 equal', '1')
    .option('--accept-unsigned', 'verify a backup that no key which the host trusts has signed')
    .addHelpText(
      'after',
      examples(
        'lastgood verify shop',
        'lastgood verify shop 5a1e93d0 --level 6',
        'lastgood verify shop --at 2026-11-23T03:00:00Z --level 4',
        'lastgood verify --all --max-age 24h --level 2',
      ),
    )
    .action((target: string | undefined, backup: string | undefined, options: VerifyAllOptions & { all?: boolean }) =>
      act((context) => {
        if ((options.all === true) === (target !== undefined))
          throw new Failure('BAD_INPUT', 'give either a target or --all');
        if (target === undefined) return verifyAll(context, options);
        if (options.env !== undefined || options.maxAge !== undefined || options.junit === true)
          throw new Failure('BAD_INPUT', '--env, --max-age and --junit need --all');
        return jobs.verify(context, target, backup, options);
      }),
    );
}

function addRotate(program: Command, act: Act): void {
  program
    .command('rotate')
    .description('remove backups that no retention rule keeps; without a rule, all are kept')
    .argument('<target>', TARGET)
    .option('--keep-last <n>', 'keep the newest n')
    .option('--keep-within <duration>', 'keep those within this time before the newest, for example 7d')
    .option('--minimum <n>', 'never fewer than this', '1')
    .option('--dry-run', 'only show what would be removed, and why each backup stays')
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

function addHolds(program: Command, act: Act): void {
  program
    .command('hold')
    .description('keep a backup from rotation')
    .argument('<backup>', BACKUP_ID)
    .option('--reason <text>', 'why', '')
    .option('--detach', 'do not wait until the host has reported it')
    .addHelpText('after', examples('lastgood hold 5a1e93d0 --reason "before the migration"'))
    .action((backup: string, options: holds.HoldOptions & { reason: string }) =>
      act((context) => holds.hold(context, backup, options)),
    );
  program
    .command('release')
    .description('end the hold of a backup')
    .argument('<backup>', BACKUP_ID)
    .option('--detach', 'do not wait until the host has reported it')
    .action((backup: string, options: holds.HoldOptions) => act((context) => holds.release(context, backup, options)));
}
