import type { Command } from 'commander';
import { exportEvidence, listEvidence } from '../commands/evidence.ts';
import * as runbooks from '../commands/runbooks.ts';
import { type Act, examples } from './help.ts';

const RUN = 'id of the run, or at least 4 characters of its beginning or end; or a runbook, for its newest run';
const repeated = (one: string, all: string[] = []): string[] => [...all, one];

/** Recovery of many databases, step by step. */
export function addRunbookCommands(program: Command, act: Act): void {
  const group = program.command('runbooks').description('disaster recovery, step by step');
  const withPlan = (command: Command): Command =>
    command
      .argument('<runbook>', 'its name in the fleet file')
      .option('--at <instant>', 'one instant for all targets, with its offset (default: the newest of each)')
      .option('--alternative <step>', 'begin this step with its alternative; may be repeated', repeated);
  withPlan(group.command('plan'))
    .description('show what a run would do: steps, recovery points, skew, what is missing')
    .option('--drill', 'plan a drill')
    .addHelpText('after', examples('lastgood runbooks plan disaster-recovery --at 2026-11-23T14:03:20-03:00'))
    .action((name: string, options: runbooks.PlanOptions & { drill?: boolean }) =>
      act((context) => runbooks.plan(context, name, options)),
    );
  withPlan(group.command('drill'))
    .description('test all restores of a runbook in scratch servers and measure them; nothing live is touched')
    .option('--plan <hash>', 'only if the plan still has this hash')
    .option('--detach', 'do not wait for the end')
    .addHelpText('after', examples('lastgood runbooks drill disaster-recovery'))
    .action((name: string, options: runbooks.StartOptions) => act((context) => runbooks.drill(context, name, options)));
  withPlan(group.command('run'))
    .description('run a runbook for real: plan, show, ask for consent, carry out')
    .option('--plan <hash>', 'only if the plan still has this hash')
    .option('--confirm <name>', 'consent, by the name of the runbook')
    .option(
      '--accept-skew <target>',
      'accept that this target goes back further than the others; may be repeated',
      repeated,
    )
    .option('--approve <step>', 'give this approval at the start; may be repeated', repeated)
    .option('--detach', 'do not wait for the end')
    .addHelpText(
      'after',
      examples(
        'lastgood runbooks run disaster-recovery',
        'lastgood runbooks run disaster-recovery --alternative cache',
      ),
    )
    .action((name: string, options: runbooks.StartOptions) => act((context) => runbooks.run(context, name, options)));
  group
    .command('status')
    .description('list the runbooks with their last run and drill, or show the checklist of one run')
    .argument('[run]', RUN)
    .action((id?: string) => act((context) => runbooks.status(context, id)));
  addDecisions(group, act);
  addEvidence(program, act);
}

/** What an auditor gets. */
function addEvidence(program: Command, act: Act): void {
  const evidence = program.command('evidence').description('the reports of runs and drills, for auditors');
  evidence
    .command('list')
    .description('list the reports, newest first')
    .action(() => act(listEvidence));
  evidence
    .command('export')
    .description('write all reports into a folder that can be checked with sha256sum and openssl alone')
    .requiredOption('--to <folder>', 'a new or empty folder')
    .addHelpText('after', examples('lastgood evidence export --to audit-2026', 'sh audit-2026/verify.sh'))
    .action((options: { to: string }) => act((context) => exportEvidence(context, options)));
}

function addDecisions(group: Command, act: Act): void {
  group
    .command('resume')
    .description('decide about steps of a run, and follow it')
    .argument('<run>', RUN)
    .option('--retry <step>', 'try a failed step again; may be repeated', repeated)
    .option('--alternative <step>', 'take the alternative of a failed step; may be repeated', repeated)
    .option('--skip <step>', 'go on without a step; may be repeated', repeated)
    .option(
      '--accept-skew <target>',
      'accept that the alternative leaves this target further back; may be repeated',
      repeated,
    )
    .option('--reason <text>', 'why a step is skipped')
    .option('--approve <step>', 'give an approval; may be repeated', repeated)
    .option('--detach', 'do not wait for the end')
    .addHelpText(
      'after',
      examples('lastgood runbooks resume 7f3a9c21 --retry cache', 'lastgood runbooks resume disaster-recovery'),
    )
    .action((id: string, options: runbooks.ResumeOptions) => act((context) => runbooks.resume(context, id, options)));
  group
    .command('abort')
    .description('start no further step, cancel what runs, and end the run')
    .argument('<run>', RUN)
    .requiredOption('--reason <text>', 'why')
    .action((id: string, options: { reason: string }) => act((context) => runbooks.abort(context, id, options)));
}
