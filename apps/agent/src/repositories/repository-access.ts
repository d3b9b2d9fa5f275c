import { type Repository, unreachable } from '@lastgood/core';
import { supportedMethods } from '@lastgood/engines';
import { systemClock } from '@lastgood/host';
import {
  createFolderRepository,
  keysOf,
  openFolderRepository,
  type RepositoryOptions,
  type Signer,
  type TrustedKeys,
} from '@lastgood/repository';
import type { S3Store, UploadStep } from '@lastgood/repository/s3';
import type { AgentConfig } from '../config/agent-config.ts';
import { readIdentity } from '../config/identity.ts';
import type { RepositoryConfig } from '../config/repository-config.ts';
import { faultPoint } from '../fault-point.ts';

type S3Config = Extract<RepositoryConfig, { type: 's3' }>;

/** A request to a server that does not respond is repeated for so long. */
const RETRY_FOR_MS = 5 * 60_000;
const IDLE_MS = 60_000;
const DAY_MS = 24 * 3_600_000;

/** One store per bucket of the agent file in force: it keeps its connections from job to job. */
const stores = new WeakMap<S3Config, Promise<S3Store>>();

/** Fault points `s3:<step>:<number>`, counted from 1 since the store was opened. */
function countedFaultPoints(): (step: UploadStep) => void {
  const counts = new Map<UploadStep, number>();
  return (step) => {
    const count = (counts.get(step) ?? 0) + 1;
    counts.set(step, count);
    faultPoint(`s3:${step}:${count}`);
  };
}

/** Loaded by hosts that use a bucket only: the client of AWS takes time and memory. */
const s3 = () => import('@lastgood/repository/s3');

async function openStore(config: S3Config): Promise<S3Store> {
  const { S3Store } = await s3();
  const addressing = config.addressing ?? (config.endpoint === undefined ? 'virtual-host' : 'path');
  return await S3Store.open(
    { ...config, addressing, lock: config.lock?.mode },
    {
      clock: systemClock,
      random: Math.random,
      retryForMs: RETRY_FOR_MS,
      idleMs: IDLE_MS,
      onStep: countedFaultPoints(),
    },
  );
}

/** The S3 store of a repository. Throws CONFIG_INVALID or DATA_FOLDER_UNSAFE for files that cannot be used. */
export async function s3StoreOf(config: S3Config): Promise<S3Store> {
  const opened = stores.get(config) ?? openStore(config);
  stores.set(config, opened);
  opened.catch(() => stores.delete(config));
  return await opened;
}

/** Where a repository is, for messages and to recognize it. */
export function locationOf(config: RepositoryConfig): string {
  switch (config.type) {
    case 'folder':
      return config.path;
    case 's3':
      return `s3://${config.bucket}/${config.prefix}${config.endpoint === undefined ? '' : ` at ${config.endpoint}`}`;
    default:
      return unreachable(config);
  }
}

/** Who changes a repository: the installation, its signatures, and whose backups it trusts (null: everybody's). */
export interface RepositoryUser {
  readonly installId: string;
  readonly signer: Signer;
  readonly trusted: TrustedKeys;
}

/** The enrolled host as the user of repositories. Its own key is trusted, and those of `trust` in the agent file. Throws as `readIdentity`. */
export async function readRepositoryUser(
  config: Parameters<typeof readIdentity>[0] & Pick<AgentConfig, 'trust'>,
): Promise<RepositoryUser> {
  const { installId, signer } = await readIdentity(config);
  return { installId, signer, trusted: new Set([signer.keyId, ...config.trust]) };
}

function optionsOf(config: RepositoryConfig, user: RepositoryUser | undefined): RepositoryOptions {
  const { encryption } = config;
  const lock = config.type === 's3' ? config.lock : undefined;
  return {
    lockMs: (lock?.days ?? 0) * DAY_MS,
    writer: user?.installId,
    signer: user?.signer,
    trusted: user?.trusted,
    understood: supportedMethods,
    ...(encryption === undefined ? {} : { keys: keysOf(encryption) }),
  };
}

/** Opens a repository that exists. `user` is who changes it; without it nothing can be changed, and signatures are not judged. */
export async function openExistingRepository(config: RepositoryConfig, user?: RepositoryUser): Promise<Repository> {
  const options = optionsOf(config, user);
  switch (config.type) {
    case 'folder':
      return await openFolderRepository({ path: config.path, mustBeMount: config.mustBeMount, ...options });
    case 's3':
      return await (await s3()).openS3Repository(await s3StoreOf(config), options);
    default:
      return unreachable(config);
  }
}

/** Makes a repository of an empty folder or bucket, and opens one that is there. */
export async function createRepository(config: RepositoryConfig, user: RepositoryUser): Promise<Repository> {
  const options = optionsOf(config, user);
  switch (config.type) {
    case 'folder':
      return await createFolderRepository({ path: config.path, mustBeMount: config.mustBeMount, ...options });
    case 's3':
      return await (await s3()).createS3Repository(await s3StoreOf(config), options);
    default:
      return unreachable(config);
  }
}
