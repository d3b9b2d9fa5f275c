import { once } from 'node:events';
import { requireBackup } from '@lastgood/core';
import {
  type AdminApi,
  adminRouter,
  type BackupView,
  findingOfError,
  type JobView,
  type RunbookView,
  type TargetStatus,
  type TargetView,
} from '@lastgood/protocol';
import { aBackupSummary, someDatabases } from '@lastgood/testkit';
import { createHTTPServer } from '@trpc/server/adapters/standalone';

export const BACKUP_ID = '0b8f2c1e-7a55-4c53-9b8e-0a6f4c8f9d11';
export const OTHER_BACKUP_ID = '0b8f9999-7a55-4c53-9b8e-0a6f4c8f9d22';
export const ESCAPE = '\u001b]0;owned\u0007\u009b2J\nspoofed';
export const SET_ASIDE = 'shop__lastgood_old_0123456789ab';
const aside = { sizeBytes: 1000, restoreJobId: null, at: null };
const AT = '2026-11-23T22:00:00Z';

export const backup = (backupId: string, sequence: number): BackupView => ({
  ...aBackupSummary({ backupId, sequence, jobId: BACKUP_ID, startedAt: AT, recoveryPoint: AT, finishedAt: AT }),
  contents: someDatabases('shop', `evil${ESCAPE}`),
  producedBytes: 1000,
  storedBytes: 100,
  verified: { level: 6, at: AT, passed: true },
  environment: 'test',
  host: 'db-1',
  holdState: 'none',
});
export const target: TargetView = {
  name: 'shop',
  engine: 'postgres',
  labels: {},
  repository: 'local',
  state: 'ok',
  version: '15.18',
  systemId: '1',
  sizeBytes: 1000,
  databases: [{ name: `evil${ESCAPE}`, sizeBytes: 1 }],
  findings: [findingOfError({ code: 'BUG', message: `finding${ESCAPE}`, remedy: '' }, null)],
  environment: 'test',
  host: 'db-1',
  online: true,
  lastGood: backup(BACKUP_ID, 2),
  lastTested: backup(BACKUP_ID, 2),
};

export const targetStatus: TargetStatus = {
  environment: 'test',
  host: 'db-1',
  hostState: 'online',
  target: 'shop',
  state: 'protected',
  serverState: 'ok',
  reasons: [],
  findings: [findingOfError({ code: 'BUG', message: `finding${ESCAPE}`, remedy: '' }, null)],
  databases: [
    {
      database: `evil${ESCAPE}`,
      state: 'protected',
      reasons: [],
      onServer: true,
      copy: null,
      recoveryPoint: { backupId: BACKUP_ID, at: AT },
      goodCopies: ['local'],
      exposureMs: 3_600_000,
      restoreTime: { basis: 'measured', ms: 2100, at: AT },
      restoreTest: { backupId: BACKUP_ID, at: AT, level: 6, ofRecoveryPoint: true },
    },
  ],
  objectives: null,
};

type Create = Parameters<AdminApi['createJob']>[0];
type StatusInput = Parameters<AdminApi['status']>[0];
export interface Served extends AsyncDisposable {
  readonly url: string;
  readonly created: Create[];
  readonly canceled: string[];
  readonly statusInputs: StatusInput[];
  /** How often a job was asked for. */
  asked(): number;
}

/** The real admin router over HTTP, answered from memory; `outcome` says what a job looks like at the n-th question. */
export async function serve(
  outcome: (input: Create, asked: number) => Partial<JobView>,
  newest: Partial<BackupView> = {},
  told: Partial<TargetStatus> | null = {},
  runbooks: RunbookView[] = [],
): Promise<Served> {
  const created: Create[] = [];
  const canceled: string[] = [];
  const statusInputs: StatusInput[] = [];
  let asked = 0;
  const view = (index: number, count: number): JobView => {
    const input = created[index];
    if (input === undefined) throw notFound(`there is no job ${index}`);
    return {
      jobId: jobIdOf(index),
      environment: 'test',
      host: 'db-1',
      target: 'shop',
      command: input.spec.command,
      spec: input.spec,
      state: 'running',
      attempt: 1,
      createdAt: 0,
      startedAt: 0,
      endedAt: null,
      createdBy: 'tester',
      startBy: 0,
      cancelRequested: false,
      deadlineMs: 1,
      hostOnline: true,
      hostSeenAt: 0,
      overdue: false,
      waitingFor: [],
      progress: null,
      error: null,
      result: null,
      ...outcome(input, count),
    };
  };
  const indexOf = (jobId: string): number => Number.parseInt(jobId.slice(-4), 16);
  const refuse = async (): Promise<never> => {
    throw notFound('not served here');
  };
  const api: AdminApi = {
    hosts: async () => [],
    targets: async (input) => {
      if (input.target !== undefined && !'test/db-1/shop'.endsWith(input.target))
        throw notFound(`no target is named "${input.target}"`);
      return [target];
    },
    status: async (input) => {
      statusInputs.push(input);
      return told === null ? [] : [{ ...targetStatus, ...told }];
    },
    backups: async ({ atMs }) =>
      [{ ...backup(BACKUP_ID, 2), ...newest }, backup(OTHER_BACKUP_ID, 1)].filter(
        ({ recoveryPoint }) => atMs === undefined || Date.parse(recoveryPoint) <= atMs,
      ),
    backup: async (backupId) => {
      const found = (await api.backups({ limit: 100 })).find((each) => each.backupId === backupId);
      if (found === undefined) throw notFound(`there is no backup ${backupId}`);
      return found;
    },
    selectBackup: async (query) => requireBackup(await api.backups({ limit: 100 }), query),
    jobs: async () => created.map((_, index) => view(index, 0)),
    job: async (jobId) => {
      asked += 1;
      return view(indexOf(jobId), asked);
    },
    createJob: async (input) => view(created.push(input) - 1, 0),
    cancelJob: async (jobId) => {
      canceled.push(jobId);
      return view(indexOf(jobId), 0);
    },
    setAside: async () => [
      { environment: 'test', host: 'db-1', target: 'shop', name: SET_ASIDE, of: 'shop', ...aside },
    ],
    tokens: async () => [],
    createToken: refuse,
    createEnrollToken: refuse,
    createSignInCode: async () => ({ code: 'a-sign-in-code', expiresAt: Date.parse('2026-01-15T12:10:00Z') }),
    watch: async function* () {
      yield { kind: 'alive', at: 0 };
    },
    revokeToken: refuse,
    audit: async () => [{ id: 1, at: 0, actor: `me${ESCAPE}`, action: 'a', subject: 's', detail: 'd' }],
    fleetDiff: refuse,
    applyFleet: refuse,
    exportFleet: refuse,
    occurrences: refuse,
    alerts: refuse,
    acknowledgeAlert: refuse,
    runbooks: () => Promise.resolve(runbooks),
    planRunbook: refuse,
    startRunbook: refuse,
    runbookRuns: refuse,
    runbookRun: refuse,
    resumeRunbook: refuse,
    abortRunbook: refuse,
    evidence: refuse,
    evidenceReport: refuse,
    whoAmI: refuse,
  };
  const server = createHTTPServer({
    router: adminRouter,
    basePath: '/trpc/',
    createContext: () => ({ scope: 'admin' as const, api }),
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    created,
    canceled,
    statusInputs,
    asked: () => asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

export const jobIdOf = (index: number): string => `00000000-0000-4000-8000-${index.toString(16).padStart(12, '0')}`;

function notFound(message: string): Error {
  return Object.assign(new TypeError(message), { wireError: { code: 'NOT_FOUND', message, remedy: 'look' } });
}
