import { readFile, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { DEFAULT_RESTORE_TESTS, type EngineDefinition, Failure, type RestoreWay } from '@lastgood/core';
import { type ConfigProblem, formatProblems, problemsOfIssues, YamlText } from '@lastgood/core/config-file';
import { engines } from '@lastgood/engines';
import { argumentVectorSchema, SERVICE_ACTIONS, serviceDefinitionSchema } from '@lastgood/host';
import { LIMITS, MAX_COPIES, nameSchema } from '@lastgood/protocol';
import { isKeyId } from '@lastgood/repository';
import { z } from 'zod';
import { checkSchema, engineNeededBy, kindOf } from '../checks/check-schema.ts';
import { absolutePath } from './absolute-path.ts';
import { repositorySchema } from './repository-config.ts';

const MAX_FILE_BYTES = 1024 * 1024;
const labels = z.record(z.string().min(1).max(63), z.string().max(255)).default({});

/** A week: the time in which somebody notices that backups are bad. */
export const DEFAULT_MINIMUM_AGE_HOURS = 168;

const limitsSchema = z.strictObject({
  rotate: z.boolean().default(false).describe('Whether the control plane may have backups removed.'),
  minimumKept: z.int().min(1).default(1).describe('Never fewer good backups than this per group.'),
  maxRemovedPerRun: z.int().min(1).max(400).default(50),
  maxRemovedPerDay: z
    .int()
    .min(0)
    .max(400)
    .default(25)
    .describe('Never more backups of the target within 24 hours than this.'),
  minimumAgeHours: z
    .number()
    .min(0)
    .default(DEFAULT_MINIMUM_AGE_HOURS)
    .describe('Nothing younger is ever removed: the time in which an attack would be noticed.'),
  keepDaily: z
    .int()
    .min(0)
    .max(400)
    .default(7)
    .describe('The first good backup of each of so many days is kept, per group.'),
  keepWeekly: z
    .int()
    .min(0)
    .max(520)
    .default(4)
    .describe('The first good backup of each of so many weeks is kept, per group.'),
  dropSetAside: z
    .boolean()
    .default(false)
    .describe('Whether the control plane may have data dropped that a restore has set aside.'),
});

/** The first way that replaces nothing, if the engine has one: whatever else a restore may do on this host, its file says so. */
const defaultWays = (ways: EngineDefinition['restoreWays']): RestoreWay['name'][] =>
  ways.flatMap(({ name }) => (name === 'new' || name === 'folder' ? [name] : [])).slice(0, 1);

/** The target of one engine: its connection, and which of its ways to restore are allowed. */
const targetSchemaOf = ({ name, connectionSchema, restoreWays, stream }: EngineDefinition) =>
  z.strictObject({
    engine: z.literal(name),
    labels,
    repository: nameSchema.describe('The name of a repository of this file. Backups are written to it.'),
    copies: z
      .array(nameSchema)
      .max(MAX_COPIES)
      .default([])
      .describe('Other repositories, into which backups are copied. A restore uses the first one that can be read.'),
    connection: connectionSchema,
    ...(stream === null
      ? {}
      : {
          stream: stream.optionsSchema
            .optional()
            .describe('The continuous log of the server, which makes instants between backups restorable.'),
        }),
    exclude: z
      .array(z.string().min(1).max(255))
      .max(100)
      .default([])
      .describe('Databases that are not backed up, by name or pattern (* and ?).'),
    service: serviceDefinitionSchema
      .optional()
      .describe('How the database server is stopped and started; needed for backups and restores that stop it.'),
    allow: limitsSchema
      .extend({
        restore: z
          .array(z.enum(restoreWays.map((way) => way.name)))
          .default(defaultWays(restoreWays))
          .describe('The ways in which the control plane may have this target restored.'),
        uncontainedRestoreTests: z
          .boolean()
          .default(false)
          .describe('Whether restore tests of level 4 and above may run where the host cannot contain restored code.'),
        roles: z
          .enum(['limited', 'full'])
          .default('limited')
          .describe('Whether users and roles that a restore creates get back their logins, passwords and rights.'),
      })
      .prefault({}),
  });
const [firstEngine, ...otherEngines] = engines;
const targetSchema = z.discriminatedUnion(
  'engine',
  [targetSchemaOf(firstEngine), ...otherEngines.map(targetSchemaOf)],
  { error: `unknown engine; use one of: ${engines.map(({ name }) => name).join(', ')}` },
);

const MAX_UID = 2 ** 32 - 2;
const { uids } = DEFAULT_RESTORE_TESTS;
const restoreTestsSchema = z.strictObject({
  uids: z
    .strictObject({
      first: z.int().min(1_000).max(MAX_UID).default(uids.first),
      count: z.int().min(1).max(100_000).default(uids.count),
    })
    .refine(({ first, count }) => first + count - 1 <= MAX_UID, 'ends above the highest user id')
    .prefault({})
    .describe('User ids that nothing else on this host uses. Each restore test of an agent that is root takes one.'),
  readable: z
    .array(absolutePath)
    .max(100)
    .default([])
    .describe('Folders outside of /usr with programs and libraries that scratch servers need.'),
});

/** The agent file: what exists on this host, what its names mean and what the control plane may do here. */
export const agentConfigSchema = z.strictObject({
  control: z.strictObject({ url: z.url({ protocol: /^https?$/ }).describe('The address of the control plane.') }),
  environment: nameSchema,
  host: nameSchema.default(() => hostname().split('.')[0]?.toLowerCase() ?? 'localhost'),
  labels,
  dataDir: absolutePath
    .default('/var/lib/lastgood-agent')
    .describe('Where the agent keeps its identity and journal (mode 0700).'),
  repositories: z.record(nameSchema, repositorySchema),
  trust: z
    .array(z.string().refine(isKeyId, 'not a key as `lastgood agent key` prints it'))
    .max(1000)
    .default([])
    .describe('The keys of other hosts whose backups this one may restore, as `lastgood agent key` prints them there.'),
  restoreFolders: z
    .record(nameSchema, absolutePath)
    .default({})
    .describe('Folders that a restore may fill, by name (`--to-folder`).'),
  restoreTests: restoreTestsSchema.prefault({}).describe('How the code of backups is contained while they are tested.'),
  hooks: z
    .record(nameSchema, argumentVectorSchema)
    .default({})
    .describe('Programs with their arguments, by the name that `service` and runbooks use.'),
  checks: z
    .record(nameSchema, checkSchema)
    .refine((checks) => Object.keys(checks).length <= LIMITS.hostNames, `at most ${LIMITS.hostNames} checks`)
    .default({})
    .describe('What runbooks check on this host, by name.'),
  allow: z
    .strictObject({
      hooks: z
        .array(nameSchema)
        .max(LIMITS.hostNames)
        .default([])
        .describe('The hooks that the control plane may have run, as steps of runbooks.'),
    })
    .prefault({}),
  targets: z
    .record(nameSchema, targetSchema)
    .refine((targets) => Object.keys(targets).length <= LIMITS.targets, `a host has at most ${LIMITS.targets} targets`),
});
export type AgentConfig = z.infer<typeof agentConfigSchema>;
export type TargetConfig = AgentConfig['targets'][string];

/** The JSON schema that editors use; docs/agent-config.schema.json is this, and a test compares them. */
export function agentConfigJsonSchema(): object {
  return z.toJSONSchema(
    z.strictObject({
      ...agentConfigSchema.shape,
      host: nameSchema.optional().describe('The name of this host; its host name when absent.'),
    }),
    { io: 'input' },
  );
}

/** Reads an agent file; CONFIG_INVALID lists every problem at once as `file:line:column path message`. */
export async function readAgentConfig(file: string): Promise<AgentConfig> {
  return parseAgentConfig(await readTrusted(file), file);
}

/** The file says what this process may do with whose secrets: only its user, or root, may have written it (B16). */
async function readTrusted(file: string): Promise<string> {
  try {
    const found = await stat(file);
    if (!found.isFile()) throw new Failure('CONFIG_INVALID', `${file} is not a regular file`);
    if (found.size > MAX_FILE_BYTES)
      throw new Failure('CONFIG_INVALID', `${file} has more than ${MAX_FILE_BYTES} bytes`);
    const own = process.getuid?.() ?? found.uid;
    if ((found.uid !== own && found.uid !== 0) || (found.mode & 0o022) !== 0)
      throw new Failure('DATA_FOLDER_UNSAFE', `others than its owner can write to ${file}`, {
        remedy:
          'Give the agent file to the user that runs the agent, or to root, and take the write bits of others away.',
      });
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Failure || !(error instanceof Error && 'code' in error)) throw error;
    throw new Failure('CONFIG_INVALID', `${file} cannot be read (${String(error.code)})`, {
      cause: error,
      remedy: 'Name the agent file with --config, and let the user that runs the agent read it.',
    });
  }
}

export function parseAgentConfig(text: string, file: string): AgentConfig {
  const yaml = new YamlText(text);
  if (yaml.problems.length > 0) throw new Failure('CONFIG_INVALID', formatProblems(file, yaml.problems));
  const { content } = yaml;
  const parsed = agentConfigSchema.safeParse(content);
  const issues = problemsOfIssues(parsed.error?.issues ?? []);
  const problems = [
    ...issues,
    ...unknownRepositories(content),
    ...plainCopies(content),
    ...looseMounts(content),
    ...unknownHooks(content),
    ...wrongChecks(content, parsed.data),
  ];
  if (!parsed.success || problems.length > 0)
    throw new Failure(
      'CONFIG_INVALID',
      formatProblems(
        file,
        problems.map((problem) => yaml.locate(problem)),
      ),
    );
  return parsed.data;
}

const referencesSchema = z.object({
  repositories: z.record(z.string(), z.unknown()),
  targets: z.record(
    z.string(),
    z.looseObject({ repository: z.string(), copies: z.array(z.string()).default([]).catch([]) }),
  ),
});

/** Targets that name a repository which the file does not have. They are reported together with all other problems. */
function unknownRepositories(content: unknown): ConfigProblem[] {
  const { data } = referencesSchema.safeParse(content);
  const isKnown = (name: string): boolean => Object.hasOwn(data?.repositories ?? {}, name);
  return Object.entries(data?.targets ?? {}).flatMap(([name, { repository, copies }]) => [
    ...(isKnown(repository)
      ? []
      : [{ path: ['targets', name, 'repository'], message: `no repository is named "${repository}"` }]),
    ...copies.flatMap((copy, index) => {
      const path = ['targets', name, 'copies', index];
      if (!isKnown(copy)) return [{ path, message: `no repository is named "${copy}"` }];
      const isTwice = copy === repository || copies.indexOf(copy) < index;
      return isTwice ? [{ path, message: `"${copy}" is a repository of this target already` }] : [];
    }),
  ]);
}

const encryptionsSchema = z.object({
  repositories: z.record(z.string(), z.looseObject({ encryption: z.unknown().optional() })),
  targets: referencesSchema.shape.targets,
});

/** Backups are copied as they are: an encrypted repository gets encrypted copies only of encrypted backups. */
function plainCopies(content: unknown): ConfigProblem[] {
  const { data } = encryptionsSchema.safeParse(content);
  const isEncrypted = (name: string): boolean => data?.repositories[name]?.encryption !== undefined;
  return Object.entries(data?.targets ?? {}).flatMap(([name, { repository, copies }]) =>
    copies.flatMap((copy, index) =>
      isEncrypted(copy) && !isEncrypted(repository)
        ? [
            {
              path: ['targets', name, 'copies', index],
              message: `"${copy}" is encrypted and "${repository}" is not: give "${repository}" \`encryption\` as well`,
            },
          ]
        : [],
    ),
  );
}

const mountsSchema = z.object({
  repositories: z.record(z.string(), z.looseObject({ path: z.string(), mustBeMount: z.string().optional() })),
});

/** A mount point that the repository does not lie on says nothing about the repository. */
function looseMounts(content: unknown): ConfigProblem[] {
  const { data } = mountsSchema.safeParse(content);
  return Object.entries(data?.repositories ?? {}).flatMap(([name, { path, mustBeMount }]) =>
    mustBeMount === undefined || `${resolve(path)}/`.startsWith(`${resolve(mustBeMount)}/`.replace('//', '/'))
      ? []
      : [{ path: ['repositories', name, 'mustBeMount'], message: `is neither ${path} nor a folder above it` }],
  );
}

const servicesSchema = z.object({
  hooks: z.record(z.string(), z.unknown()).default({}),
  targets: z.record(z.string(), z.looseObject({ service: serviceDefinitionSchema.optional().catch(undefined) })),
});

/** Services whose hooks the file does not have. */
function unknownHooks(content: unknown): ConfigProblem[] {
  const { data } = servicesSchema.safeParse(content);
  return Object.entries(data?.targets ?? {}).flatMap(([target, { service }]) =>
    service?.kind !== 'hook'
      ? []
      : SERVICE_ACTIONS.filter((action) => !Object.hasOwn(data?.hooks ?? {}, service[action])).map((action) => ({
          path: ['targets', target, 'service', action],
          message: `no hook is named "${service[action]}"`,
        })),
  );
}

const allowedSchema = z.object({
  hooks: z.record(z.string(), z.unknown()).default({}),
  allow: z.object({ hooks: z.array(z.string()) }),
});

/** Allowed hooks that the file does not have, and checks of targets that it does not have or of another engine. */
function wrongChecks(content: unknown, config: AgentConfig | undefined): ConfigProblem[] {
  const { data } = allowedSchema.safeParse(content);
  const hooks = (data?.allow.hooks ?? []).flatMap((name, index) =>
    Object.hasOwn(data?.hooks ?? {}, name)
      ? []
      : [{ path: ['allow', 'hooks', index], message: `no hook is named "${name}"` }],
  );
  const checks = Object.entries(config?.checks ?? {}).flatMap(([name, check]) => {
    const { kind } = kindOf(check);
    const engine = engineNeededBy(kind);
    if (engine === undefined || check.target === undefined) return [];
    const target = config?.targets[check.target];
    const path = ['checks', name, 'target'];
    if (target === undefined) return [{ path, message: `no target is named "${check.target}"` }];
    return target.engine === engine ? [] : [{ path, message: `"${kind}" asks targets of ${engine}` }];
  });
  return [...hooks, ...checks];
}
