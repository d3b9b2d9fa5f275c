import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { controlEndpoint, Failure, toWireError } from '@lastgood/core';
import { systemClock } from '@lastgood/host';
import { ERROR_CATALOG } from '@lastgood/protocol';
import { pino } from 'pino';
import { acceptSizeChanges } from './accept-command.ts';
import { startAgent } from './agent.ts';
import { checkHost } from './check-host.ts';
import { type AgentConfig, readAgentConfig } from './config/agent-config.ts';
import { enroll, readIdentity } from './config/identity.ts';
import { createKeyFile } from './keys-command.ts';
import { openExistingRepository } from './repositories/repository-access.ts';

const USAGE = `Usage: lastgood agent --config FILE
       lastgood agent enroll --config FILE [--url URL] --token-file FILE
       lastgood agent check --config FILE
       lastgood agent adopt --config FILE --target NAME
       lastgood agent accept --config FILE --target NAME
       lastgood agent key --config FILE
       lastgood agent keys new --output FILE

  run      (default) connects to the control plane and carries out its jobs; SIGHUP reads the file again
  enroll   joins this host with a one-time token of \`lastgood tokens enroll\`; without --url, at \`control.url\` of the file
  check    checks the file and everything that it names, and shows what a hostile control plane could remove; ends with exit
           status 4 when it finds a problem
  key      prints the public key that this host signs its backups with, for \`trust\` in the agent file of another host
  keys new  writes a new age identity to a file and prints its recipient; both stay on this host
  adopt    makes this host the owner of a target's backups after another host or server was lost permanently
  accept   accepts the sizes of a target's backups after its data has grown or shrunk: until then, rotations keep what was there before
`;
const NOBODY_ANSWERS = 75;
const FOUND_SOMETHING = ERROR_CATALOG.BACKUP_CORRUPT.exit;

function fail(error: unknown): never {
  const wire =
    error instanceof TypeError && 'code' in error
      ? new Failure('BAD_INPUT', error.message).wireError
      : toWireError(error);
  process.stderr.write(`error ${wire.code}: ${wire.message}\nwhat to do: ${wire.remedy}\n`);
  if (wire.code === 'BUG') process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(ERROR_CATALOG[wire.code].exit);
}

function needed(value: string | undefined, name: string): string {
  if (value === undefined || value === '') throw new Failure('BAD_INPUT', `--${name} is missing`);
  return value;
}

async function check(config: AgentConfig, file: string): Promise<void> {
  process.stdout.write(`${file} is valid: ${Object.keys(config.targets).length} target(s)\n`);
  const found = await checkHost(config, systemClock);
  for (const { name, text } of found) process.stdout.write(`${name}: ${text}\n`);
  if (!found.every(({ inOrder }) => inOrder)) process.exitCode = FOUND_SOMETHING;
}

/** The agent connects to the address of its file, not to the one where it was enrolled. */
function warnOfOtherAddress(inFile: string, used: string): void {
  if (controlEndpoint(inFile, '') === controlEndpoint(used, '')) return;
  process.stderr.write(
    `warning: the agent will connect to ${inFile} (control.url in the agent file), not to ${used}. ` +
      'Correct the file if that is not the same control plane.\n',
  );
}

/** Deliberately, on the host itself: the control plane may not say whose backups these are. */
async function adopt(config: AgentConfig, name: string): Promise<void> {
  const target = config.targets[name];
  const options = target === undefined ? undefined : config.repositories[target.repository];
  if (options === undefined) throw new Failure('NOT_FOUND', `the agent file has no target "${name}"`);
  const repository = await openExistingRepository(options);
  const owned = await repository.disown({ environment: config.environment, host: config.host, target: name });
  process.stdout.write(
    owned
      ? `the next backup makes the folder of "${name}" its own; what lies there stays\n`
      : `nobody owns the folder of "${name}"; the next backup makes it its own\n`,
  );
}

/** The identity belongs off this host; its recipient belongs into the agent file. */
async function newKey(output: string): Promise<void> {
  const recipient = await createKeyFile(output, systemClock.now());
  process.stdout.write(`${recipient}\n`);
  process.stderr.write(
    `The identity is in ${output}. Keep it in two places off this host: without it, encrypted backups cannot be restored.\n` +
      'Put the recipient above into `encryption.recipients` of the repository in the agent file.\n',
  );
}

async function run(configFile: string): Promise<void> {
  // Written before the call returns: the last words of a process that is killed are the ones that matter.
  const log = pino({ base: null }, pino.destination({ dest: 2, sync: true }));
  // Crash-only: what nobody expected ends the process; the journal tells the next one what was running (J8).
  process.on('uncaughtException', (error) => {
    log.fatal({ error: error.stack }, 'unexpected error');
    process.exit(ERROR_CATALOG.BUG.exit);
  });
  const agent = await startAgent({ configFile, clock: systemClock, log });
  const stop = (status: number): void =>
    void agent.close().then((left) => {
      if (left.length === 0) process.exit(status);
      // An exit waits for every thread, and one that is in a dead disk never comes back.
      log.warn({ left }, 'the process ends by SIGKILL, for something does not answer');
      process.kill(process.pid, 'SIGKILL');
    }, fail);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop(0));
  process.on('SIGHUP', () => {
    agent.reload().then(
      () => log.info({ configFile }, 'the agent file was read again'),
      (error: unknown) =>
        log.error({ error: toWireError(error) }, 'the agent file was refused; the old one stays in force'),
    );
  });
  await agent.ended;
  log.error({}, 'nobody answered for a day');
  stop(NOBODY_ANSWERS);
}

try {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      config: { type: 'string' },
      url: { type: 'string' },
      'token-file': { type: 'string' },
      target: { type: 'string' },
      output: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const [command = 'run', ...rest] = positionals;
  if (values.help) process.stdout.write(USAGE);
  else if (positionals.join(' ') === 'keys new') await newKey(needed(values.output, 'output'));
  else if (rest.length > 0 || !['run', 'enroll', 'check', 'adopt', 'accept', 'key'].includes(command))
    throw new Failure('BAD_INPUT', `unknown command "${positionals.join(' ')}"\n${USAGE}`);
  else if (command === 'run') await run(needed(values.config, 'config'));
  else {
    const config = await readAgentConfig(needed(values.config, 'config'));
    if (command === 'enroll') {
      const file = needed(values['token-file'], 'token-file');
      const token = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
        throw new Failure('BAD_INPUT', `${file} cannot be read (${error.code})`);
      });
      const url = values.url ?? config.control.url;
      const { agentId } = await enroll(config, url, token.trim());
      process.stdout.write(`enrolled ${config.environment}/${config.host} as ${agentId}\n`);
      warnOfOtherAddress(config.control.url, url);
    } else if (command === 'adopt') await adopt(config, needed(values.target, 'target'));
    else if (command === 'key') process.stdout.write(`${(await readIdentity(config)).signer.keyId}\n`);
    else if (command === 'accept')
      process.stdout.write(await acceptSizeChanges(config, needed(values.target, 'target'), systemClock.now()));
    else await check(config, needed(values.config, 'config'));
  }
} catch (error) {
  fail(error);
}
