import type { Command } from 'commander';
import * as tokens from '../commands/tokens.ts';
import { type Act, examples } from './help.ts';

export function addTokenCommands(program: Command, act: Act): void {
  const group = program.command('tokens').description('the tokens of people, scripts and hosts');
  group
    .command('list')
    .description('list the tokens; their secrets are never shown')
    .action(() => act(tokens.listTokens));
  group
    .command('create')
    .description('create a token for a person or a script')
    .argument('<name>', 'a name for the list and the audit record')
    .requiredOption('--scope <scope>', 'read, operate, destroy or admin')
    .option('--expires <duration>', 'for example 90d (default: valid until it is revoked)')
    .addHelpText('after', examples('(umask 077; lastgood tokens create ci --scope operate --expires 90d > ci.token)'))
    .action((name: string, options: { scope: string; expires?: string }) =>
      act((context) => tokens.createToken(context, name, options)),
    );
  group
    .command('enroll')
    .description('create a one-time token that enrolls one host')
    .argument('<environment>', 'environment of the host, for example prod')
    .argument('<host>', 'name of the host in the fleet')
    .option('--expires <duration>', 'at most 24h', '1h')
    .option('--replace', 'the host may be enrolled already: the token replaces its agent')
    .addHelpText('after', examples('(umask 077; lastgood tokens enroll prod db-1 > db-1.token)'))
    .action((environment: string, host: string, options: { expires: string; replace?: boolean }) =>
      act((context) => tokens.createEnrollToken(context, environment, host, options)),
    );
  group
    .command('revoke')
    .description('end a token')
    .argument('<token>', 'id of the token, or at least 4 characters of its beginning or end')
    .action((id: string) => act((context) => tokens.revokeToken(context, id)));
}
