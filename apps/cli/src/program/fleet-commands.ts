import type { Command } from 'commander';
import * as fleet from '../commands/fleet.ts';
import { type Act, examples, TARGET } from './help.ts';

const FILE = ['-f, --file <file>', 'the fleet file'] as const;

/** The fleet file and what follows from it: occurrences and alerts. */
export function addFleetCommands(program: Command, act: Act): void {
  program
    .command('diff')
    .description('compare a fleet file with the one in force; exit status 4 if they differ')
    .requiredOption(...FILE)
    .addHelpText('after', examples('lastgood diff -f fleet.yaml'))
    .action((options: { file: string }) => act((context) => fleet.diffFleet(context, options)));
  program
    .command('apply')
    .description('put a fleet file in force')
    .requiredOption(...FILE)
    .option('--accept-loss', 'consent to shorter retention, less protection and silenced alerts')
    .addHelpText('after', examples('lastgood apply -f fleet.yaml'))
    .action((options: { file: string; acceptLoss?: boolean }) => act((context) => fleet.applyFleet(context, options)));
  program
    .command('export')
    .description('print the fleet file in force')
    .addHelpText('after', examples('lastgood export > fleet.yaml'))
    .action(() => act(fleet.exportFleet));
  program
    .command('occurrences')
    .description('the due runs of schedules')
    .command('list')
    .description('list the runs of schedules, past and expected, the latest first')
    .argument('[target]', `${TARGET} (default: all)`)
    .option('--state <state>', 'only those in this state; may be repeated', (one: string, all: string[] = []) => [
      ...all,
      one,
    ])
    .option('--limit <n>', 'at most this many', '50')
    .addHelpText('after', examples('lastgood occurrences list prod/db-1/shop --state missed --state failed'))
    .action((target: string | undefined, options: fleet.OccurrenceOptions) =>
      act((context) => fleet.listOccurrences(context, target, options)),
    );
  addAlerts(program, act);
}

function addAlerts(program: Command, act: Act): void {
  const alerts = program.command('alerts').description('the alerts of the fleet');
  alerts
    .command('list')
    .description('list the open alerts, newest first')
    .option('--all', 'also those that are resolved')
    .option('--limit <n>', 'at most this many', '50')
    .action((options: { limit: string; all?: boolean }) => act((context) => fleet.listAlerts(context, options)));
  alerts
    .command('ack')
    .description('take an alert: it is not notified again, unless something new fires')
    .argument('<alert>', 'id of the alert, or at least 4 characters of its beginning or end')
    .option('--note <text>', 'what is being done about it')
    .action((id: string, options: { note?: string }) => act((context) => fleet.acknowledgeAlert(context, id, options)));
}
