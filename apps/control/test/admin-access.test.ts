import { randomUUID } from 'node:crypto';
import { adminRouter, inputs, type Scope } from '@lastgood/protocol';
import { beforeAll, describe, expect, test } from 'vitest';
import { AgentSocket } from './support/agent-socket.ts';
import { ControlHarness } from './support/control-harness.ts';
import { digestOf } from './support/digest.ts';

const SCOPES: readonly Scope[] = ['read', 'operate', 'destroy', 'admin'];
/** A subscription is a stream: browser-session.test.ts has its cases. */
type Name = Exclude<keyof typeof adminRouter._def.procedures, 'watch'>;
/** The least scope of every procedure, said once more here: a procedure that is new or changed has to come by. */
const NEEDS: Readonly<Record<Name, Scope>> = {
  whoAmI: 'read',
  hosts: 'read',
  targets: 'read',
  status: 'read',
  backups: 'read',
  backup: 'read',
  selectBackup: 'read',
  jobs: 'read',
  job: 'read',
  createJob: 'operate',
  cancelJob: 'operate',
  setAside: 'read',
  tokens: 'admin',
  createToken: 'admin',
  createEnrollToken: 'admin',
  createSignInCode: 'read',
  revokeToken: 'admin',
  audit: 'admin',
  fleetDiff: 'read',
  applyFleet: 'admin',
  exportFleet: 'read',
  occurrences: 'read',
  alerts: 'read',
  acknowledgeAlert: 'operate',
  runbooks: 'read',
  planRunbook: 'read',
  startRunbook: 'operate',
  runbookRuns: 'read',
  runbookRun: 'read',
  resumeRunbook: 'destroy',
  abortRunbook: 'destroy',
  evidence: 'read',
  evidenceReport: 'read',
};
const backup = { command: 'backup', target: 'shop', method: null, contents: null, options: {} };
const undo = { command: 'undo', target: 'shop', restoreJobId: randomUUID() };
/** An input that is in order, though what it names may not exist. */
const INPUTS: Readonly<Record<Name, () => unknown>> = {
  whoAmI: () => ({}),
  hosts: () => ({}),
  targets: () => ({}),
  status: () => ({}),
  backups: () => ({}),
  backup: () => ({ backupId: randomUUID() }),
  selectBackup: () => ({ target: 'shop', wanted: { type: 'latest' }, purpose: 'restore', content: null }),
  jobs: () => ({}),
  job: () => ({ jobId: randomUUID() }),
  createJob: () => ({ target: 'shop', spec: backup, idempotencyKey: randomUUID() }),
  cancelJob: () => ({ jobId: randomUUID() }),
  setAside: () => ({}),
  tokens: () => ({}),
  createToken: () => ({ name: 'a', scope: 'admin', expiresInHours: null }),
  createEnrollToken: () => ({ environment: 'test', host: 'db-9' }),
  createSignInCode: () => ({}),
  revokeToken: () => ({ id: randomUUID() }),
  audit: () => ({}),
  fleetDiff: () => ({ text: '{}', file: 'fleet.yaml' }),
  applyFleet: () => ({ text: '{}', file: 'fleet.yaml' }),
  exportFleet: () => ({}),
  occurrences: () => ({}),
  alerts: () => ({}),
  acknowledgeAlert: () => ({ alertId: randomUUID() }),
  runbooks: () => ({}),
  planRunbook: () => ({ runbook: 'r', mode: 'run' }),
  startRunbook: () => ({ runbook: 'r', mode: 'drill', planHash: '0'.repeat(64), idempotencyKey: randomUUID() }),
  runbookRuns: () => ({}),
  runbookRun: () => ({ runId: randomUUID() }),
  resumeRunbook: () => ({ runId: randomUUID(), decision: { type: 'retry', step: 'a' } }),
  evidence: () => ({}),
  evidenceReport: () => ({ sequence: 1 }),
  abortRunbook: () => ({ runId: randomUUID(), reason: 'why' }),
};
const names = Object.keys(adminRouter._def.procedures).filter((name): name is Name => name !== 'watch');
const typeOf = (name: Name) => (adminRouter._def.procedures[name]._def.type === 'query' ? 'query' : 'mutation');
const CALLS = names.flatMap((name) => SCOPES.map((scope) => [name, scope] as const));

test('every procedure of the router stands in the table of scopes', () => {
  expect(names.toSorted()).toEqual(Object.keys(NEEDS).toSorted());
  expect(Object.keys(inputs)).not.toContain('__proto__');
});

describe('who may call what', () => {
  let bench: ControlHarness;
  let stack: AsyncDisposableStack;
  const tokens = new Map<string, string>();
  beforeAll(async () => {
    stack = new AsyncDisposableStack();
    bench = stack.use(await ControlHarness.start());
    const agent = await AgentSocket.connect(bench, await bench.enroll());
    await agent.announce('shop');
    for (const scope of SCOPES) {
      tokens.set(scope, await bench.tokenOf(scope));
      const { token, view } = await bench.admin().createToken.mutate({ name: 'gone', scope, expiresInHours: null });
      await bench.admin().revokeToken.mutate({ id: view.id });
      tokens.set(`revoked ${scope}`, token);
      tokens.set(`expired ${scope}`, await bench.tokenOf(scope, 0.0001));
    }
    tokens.set('an enrollment token', await bench.enrollToken('db-1'));
    bench.clock.advance(1_000);
    return () => stack.disposeAsync();
  });

  test.each(CALLS)('%s with a token of scope %s', async (name, scope) => {
    const token = tokens.get(scope) ?? '';
    await bench.call('query', 'whoAmI', undefined, token);
    const before = digestOf(bench.catalogFile);
    const { status, failure } = await bench.call(typeOf(name), name, INPUTS[name](), token);
    if (SCOPES.indexOf(scope) >= SCOPES.indexOf(NEEDS[name])) return expect([200, 404]).toContain(status);
    expect({ status, code: failure?.code }).toEqual({ status: 403, code: 'FORBIDDEN' });
    expect(failure?.remedy).not.toBe('');
    expect(digestOf(bench.catalogFile)).toEqual(before);
  });

  test.each(names)('%s with no token, a revoked, an expired or a foreign one', async (name) => {
    const before = digestOf(bench.catalogFile);
    const wrong: (string | null)[] = [null, '', 'lg_', 'x'.repeat(60), `${tokens.get('admin')}x`, 'none'];
    for (const [what, token] of tokens) if (!SCOPES.includes(what as Scope)) wrong.push(token);
    for (const token of wrong) {
      const { status, failure } = await bench.call(typeOf(name), name, INPUTS[name](), token);
      expect({ token, status, code: failure?.code }).toEqual({ token, status: 401, code: 'UNAUTHENTICATED' });
      expect(failure?.remedy).not.toBe('');
    }
    expect(digestOf(bench.catalogFile)).toEqual(before);
  });

  test('a destructive job needs the scope destroy, and so does canceling it', async () => {
    const input = () => ({ target: 'shop', spec: undo, idempotencyKey: randomUUID() });
    for (const scope of ['read', 'operate']) {
      const { status, failure } = await bench.call('mutation', 'createJob', input(), tokens.get(scope) ?? '');
      expect({ status, code: failure?.code }).toEqual({ status: 403, code: 'FORBIDDEN' });
    }
    const made = await bench.call('mutation', 'createJob', input(), tokens.get('destroy') ?? '');
    const { jobId } = made.data as { jobId: string };
    const canceled = await bench.call('mutation', 'cancelJob', { jobId }, tokens.get('operate') ?? '');
    expect(canceled.status).toBe(403);
    expect((await bench.call('mutation', 'cancelJob', { jobId }, tokens.get('destroy') ?? '')).status).toBe(200);
  });

  test('every change leaves its record in the audit trail, in the same commit, and no secret in it', async () => {
    const admin = bench.admin();
    const count = async (): Promise<number> => (await admin.audit.query({ limit: 1000 })).length;
    const job = await admin.createJob.mutate({
      target: 'shop',
      spec: { command: 'backup', target: 'shop', method: null, contents: null, options: {} },
      idempotencyKey: randomUUID(),
    });
    const changes: [string, string, () => Promise<unknown>][] = [
      ['job.cancel', job.jobId, () => admin.cancelJob.mutate({ jobId: job.jobId })],
      ['token.create', 'x', () => admin.createToken.mutate({ name: 'x', scope: 'read', expiresInHours: 1 })],
      ['token.enroll', 'test/db-7', () => admin.createEnrollToken.mutate({ environment: 'test', host: 'db-7' })],
      ['agent.enroll', 'test/db-8', () => bench.enroll('db-8')],
      ['agent.enrollAgain', 'test/db-8', () => bench.enroll('db-8')],
    ];
    for (const [action, subject, change] of changes) {
      const before = await count();
      await change();
      const [newest] = await admin.audit.query({ limit: 1 });
      expect({ action: newest?.action, subject: newest?.subject }).toEqual({ action, subject });
      expect(await count()).toBeGreaterThan(before);
    }
    const trail = JSON.stringify(await admin.audit.query({ limit: 1000 }));
    for (const token of tokens.values()) expect(trail).not.toContain(token);
    // Each mutation of the router either stands above or was tried in the table of scopes with an audit record of its own.
    const actions = new Set((await admin.audit.query({ limit: 1000 })).map((entry) => entry.action));
    expect(actions).toContain('token.revoke');
    expect(actions).toContain('job.backup');
  });
});
