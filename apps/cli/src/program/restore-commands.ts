import type { Command } from 'commander';
import * as jobs from '../commands/jobs.ts';
import { type Act, AT, BACKUP, examples, JOB_ID, TARGET, withTimes } from './help.ts';

/** `restore` and `undo`. */
export function addRestoreCommands(program: Command, act: Act): void {
  withTimes(
    program
      .command('restore')
      .description('restore a database, or a whole server; shows the plan first')
      .argument('<target>', TARGET)
      .argument('[backup]', BACKUP),
  )
    .option('--at <instant>', AT)
    .option('--database <name>', 'which database of the backup (default: the only one, or the whole server)')
    .option('--to-new <name>', 'into a new database; nothing that exists is touched')
    .option(
      '--to-folder <name>',
      'the whole server into a restore folder of the agent file, at any instant of a recovery window',
    )
    .option('--swap', 'checked, then swapped in; the old data is set aside for undo')
    .option('--in-place', 'over the old one, in one transaction; cannot be undone')
    .option(
      '--accept-invalid-constraints',
      'restore rows that violate their own foreign keys and checks; these become NOT VALID',
    )
    .option('--accept-unsigned', 'restore a backup that no key which the host trusts has signed')
    .option('--plan-only', 'show what would happen, and stop')
    .option('--confirm <name>', 'consent, by the name that the plan shows')
    .addHelpText(
      'after',
      examples(
        'lastgood restore shop latest --database shop --to-new shop_copy',
        'lastgood restore shop --at 2026-11-23T03:00:00Z --database shop --to-new shop_copy',
        'lastgood restore shop --at 2026-11-23T14:03:20-03:00 --to-folder drill',
        'lastgood restore shop latest --database shop --swap --plan-only',
        'lastgood restore shop latest --database shop --swap --confirm shop',
      ),
    )
    .action((target: string, backup: string | undefined, options: jobs.RestoreOptions) =>
      act((context) => jobs.restore(context, target, backup, options)),
    );
  program
    .command('undo')
    .description('bring back what a swap restore set aside')
    .argument('<target>', TARGET)
    .argument('<job>', `${JOB_ID}: the restore`)
    .option('--confirm <name>', 'consent, by the name that the restore printed')
    .option('--plan-only', 'shows what was written since the restore, where the engine counts it, and changes nothing')
    .action((target: string, job: string, options: jobs.UndoOptions) =>
      act((context) => jobs.undo(context, target, job, options)),
    );
}
