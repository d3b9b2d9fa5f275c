import type { Command } from 'commander';
import { runDaemon } from '../commands/daemons.ts';

/** `control` and `agent`. They have their own options, also those that this command line has (--url, --token-file). */
export function addDaemonCommands(program: Command, finish: (status: number) => void): void {
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
      .argument('[args...]', 'passed on unchanged')
      .action(async () => finish(await runDaemon(name, process.argv.slice(process.argv.indexOf(name, 2) + 1))));
  }
}
