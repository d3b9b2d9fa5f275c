import type { Command } from 'commander';
import { runDaemon } from '../commands/daemons.ts';
import { examples } from './help.ts';

/** Keys of encrypted repositories. They run on this host, and never reach the control plane. */
export function addKeyCommands(program: Command, finish: (status: number) => void): void {
  const group = program.command('keys').description('the keys of encrypted repositories, on this host');
  group
    .command('new')
    .description('write a new age identity to a file and print its recipient')
    .requiredOption('--output <file>', 'the new file; it can be read by its owner only')
    .addHelpText('after', examples('lastgood keys new --output /media/usb/lastgood-identity.txt'))
    .action(async ({ output }: { output: string }) =>
      finish(await runDaemon('agent', ['keys', 'new', '--output', output])),
    );
}
