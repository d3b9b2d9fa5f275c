import { resolve } from 'node:path';
import { Failure } from '@lastgood/core';
import { nameSchema } from '@lastgood/protocol';
import { z } from 'zod';

/** The kernel allows more; a longer name or argument is a mistake. */
const MAX_UNIT_CHARS = 255;
const MAX_ARGUMENTS = 64;
const MAX_ARGUMENT_CHARS = 4096;

/**
 * The names of services in systemd.unit(5): letters, digits and `:_.\-`, optionally `@` and an instance. A leading `-` (it would look
 * like an option) and a template without an instance (it cannot be started) are refused.
 */
const UNIT_NAME = /^[A-Za-z0-9:_.\\][A-Za-z0-9:_.\\-]*(?:@[A-Za-z0-9:_.\\@-]+)?\.service$/;

const unitSchema = z
  .string()
  .max(MAX_UNIT_CHARS)
  .regex(UNIT_NAME, 'use the full name of a systemd service, such as database.service or cluster@main.service')
  .describe('The systemd unit that runs the server process, with its ending .service.');

const argumentSchema = z
  .string()
  .max(MAX_ARGUMENT_CHARS)
  .refine((text) => !text.includes('\0') && text.isWellFormed(), 'no NUL and no lone surrogate');
const isAbsoluteProgram = (path: string): boolean => path.startsWith('/') && path !== '/' && resolve(path) === path;

/** A program and its arguments. No shell reads them. */
export const argumentVectorSchema = z
  .array(argumentSchema)
  .min(1, 'name a program')
  .max(MAX_ARGUMENTS)
  .refine(
    ([program]) => program === undefined || isAbsoluteProgram(program),
    'begin with the absolute path of a program, without "." and ".."',
  );

const systemdServiceSchema = z
  .strictObject({ kind: z.literal('systemd'), unit: unitSchema })
  .describe('A server that systemd runs.');
const commandServiceSchema = z
  .strictObject({
    kind: z.literal('command'),
    start: argumentVectorSchema.describe(
      'Starts the server in the background and ends with exit status 0. Its output is discarded.',
    ),
    stop: argumentVectorSchema.describe('Stops the server and ends with exit status 0.'),
    status: argumentVectorSchema.describe(
      'Ends with exit status 0 when the server is running and with 3 when it is not. Any other status means unknown.',
    ),
  })
  .describe(
    'A server that commands start and stop. Only root or the user of the agent may be able to write the programs.',
  );
const hookServiceSchema = z
  .strictObject({
    kind: z.literal('hook'),
    start: nameSchema.describe('The hook that starts the server; the rules of the command `start` apply.'),
    stop: nameSchema.describe('The hook that stops the server.'),
    status: nameSchema.describe('The hook that reports the state; the rules of the command `status` apply.'),
  })
  .describe('A server that named hooks of the agent file start and stop.');

/** How a database server is started and stopped on this host. */
export const serviceDefinitionSchema = z.discriminatedUnion('kind', [
  systemdServiceSchema,
  commandServiceSchema,
  hookServiceSchema,
]);

export type ServiceDefinition = z.infer<typeof serviceDefinitionSchema>;
type HookService = z.infer<typeof hookServiceSchema>;
export type SystemdService = z.infer<typeof systemdServiceSchema>;
export type CommandService = z.infer<typeof commandServiceSchema>;
/** A definition whose hooks have been replaced by their commands. */
export type ResolvedService = SystemdService | CommandService;

export type ServiceAction = 'start' | 'stop' | 'status';
export const SERVICE_ACTIONS: readonly ServiceAction[] = ['start', 'stop', 'status'];

function resolveHooks(service: HookService, hooks: Readonly<Record<string, readonly string[]>>): CommandService {
  const commands = SERVICE_ACTIONS.map((action) => {
    const name = service[action];
    const { data, error } = argumentVectorSchema.safeParse(Object.hasOwn(hooks, name) ? hooks[name] : undefined);
    const problem = Object.hasOwn(hooks, name) ? (error?.issues[0]?.message ?? '') : 'no hook has this name';
    return { action, name, data, problem };
  });
  const [start, stop, status] = commands.map(({ data }) => data);
  if (start !== undefined && stop !== undefined && status !== undefined)
    return { kind: 'command', start, stop, status };
  const problems = commands.filter(({ data }) => data === undefined);
  throw new Failure(
    'CONFIG_INVALID',
    problems.map(({ action, name, problem }) => `hook "${name}" of service.${action}: ${problem}`).join('\n'),
  );
}

/**
 * Replaces the hooks of a definition by their commands. `hooks` are the argument vectors of the agent file by hook name. Throws
 * CONFIG_INVALID that names every hook that does not exist or is not a valid command.
 */
export function resolveService(
  service: ServiceDefinition,
  hooks: Readonly<Record<string, readonly string[]>>,
): ResolvedService {
  return service.kind === 'hook' ? resolveHooks(service, hooks) : service;
}
