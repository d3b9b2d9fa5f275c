import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Control, type ControlOptions, notifyConfigSchema } from '@lastgood/control';
import { systemClock } from '@lastgood/host';
import { headerOf, SmtpInbox, seedShop, startPostgres } from '@lastgood/testkit';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { commandLine } from '../support/command-line.ts';
import { InProcessFleet } from '../support/in-process-fleet.ts';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
/** Midnight of the first day. */
const START = Date.UTC(2026, 10, 30);
const at = (day: number, hours: number): number => START + day * DAY + hours * HOUR;

/** The wall clock of both sides, which is set forward. Durations are real. */
class JumpingClock {
  #offsetMs = at(0, 1) - Date.now();
  now = (): number => Date.now() + this.#offsetMs;
  monotonic = (): number => systemClock.monotonic();
  jumpTo(instant: number): void {
    if (instant < this.now()) throw new TypeError('the clock only goes forward');
    this.#offsetMs = instant - Date.now();
  }
}

const FLEET = `environments: { test: { timezone: UTC } }
contacts: { dba: { email: [dba@example.org] } }
policies:
  shop:
    select: { target: shop }
    objectives: { rpo: 26h, rto: 4h }
    backup: [{ method: logical, cron: "0 2 * * *" }]
    verify: [{ level: 1, cron: "0 3 * * *" }]
    alerts: { contacts: [dba] }
`;

/** The jobs of schedules in the journal of the agent, by when they were due. */
function journaledRuns(fleet: InProcessFleet): { due: number; command: string; lastType: string }[] {
  const sqlite = new Database(fleet.journalFile, { readonly: true });
  try {
    const rows = sqlite.prepare<[], { json: string }>('select json from job').all();
    return rows
      .map(({ json }) => JSON.parse(json.slice(9)))
      .flatMap(({ origin, spec, lastType }) =>
        origin.kind === 'schedule' ? [{ due: origin.due, command: spec.command, lastType }] : [],
      )
      .toSorted((a, b) => a.due - b.due);
  } finally {
    sqlite.close();
  }
}

async function scrape({ url }: Control, token: string): Promise<string> {
  return await (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })).text();
}

test('C8: a fleet runs its schedules with and without the control plane, and reports what failed by e-mail', {
  timeout: 240_000,
}, async () => {
  await using cleanup = new AsyncDisposableStack();
  const server = cleanup.use(await startPostgres({}));
  await seedShop(server, 'shop', { rows: 100 });
  const inbox = cleanup.use(await SmtpInbox.open());
  const clock = new JumpingClock();
  const smtp = { host: '127.0.0.1', port: inbox.port, tls: 'none', from: 'lastgood@example.org' };
  const options: Partial<ControlOptions> = {
    clock,
    limits: { plannerMs: 200 },
    notify: notifyConfigSchema.parse({ smtp }),
  };
  const fleet = cleanup.use(
    await InProcessFleet.open((config) => {
      config.targets['shop'] = { ...config.targets['shop'], connection: server.connection };
    }, options),
  );
  await fleet.startAgent({ clock });
  await fleet.until('the target', async () =>
    (await fleet.admin.targets.query({})).some(({ state }) => state === 'ok') ? true : undefined,
  );
  const file = join(fleet.folder, 'fleet.yaml');
  await writeFile(file, FLEET);
  const lastgood = commandLine({ url: fleet.control.url, tokenFile: fleet.control.adminTokenFile });

  // The file is compared, applied, and in force.
  expect((await lastgood('diff', '-f', file)).status).toBe(4);
  const applied = await lastgood('apply', '-f', file);
  expect(applied.status, applied.stderr).toBe(0);
  expect((await lastgood('diff', '-f', file)).status).toBe(0);
  await fleet.until('the schedules on the agent', async () => {
    const sqlite = new Database(fleet.journalFile, { readonly: true });
    const row = sqlite.prepare("select value from meta where key = 'schedules'").get();
    sqlite.close();
    return row === undefined ? undefined : true;
  });

  // Day 0: the backup runs when it is due.
  clock.jumpTo(at(0, 2) + SECOND);
  const occurrence = async (due: number) =>
    (await fleet.admin.occurrences.query({})).find(({ dueAt }) => dueAt === due);
  await fleet.until('the first backup', async () =>
    (await occurrence(at(0, 2)))?.state === 'succeeded' ? true : undefined,
  );

  // Until day 1 the control plane is down. The agent goes on, also across a restart, and runs nothing twice.
  await fleet.stopControl();
  const untilRun = async (due: number): Promise<void> =>
    void (await fleet.until('a run in the journal', async () =>
      journaledRuns(fleet).some((run) => run.due === due && run.lastType === 'succeeded') ? true : undefined,
    ));
  clock.jumpTo(at(0, 3) + SECOND);
  await untilRun(at(0, 3));
  await fleet.stopAgent();
  await fleet.startAgent({ clock });
  clock.jumpTo(at(1, 2) + SECOND);
  await untilRun(at(1, 2));
  clock.jumpTo(at(1, 3) + SECOND);
  await untilRun(at(1, 3));
  await fleet.stopAgent();
  await fleet.startAgent({ clock });
  await fleet.startControl();
  await fleet.until('the runs of the outage in the catalog', async () =>
    (await occurrence(at(1, 3)))?.state === 'succeeded' ? true : undefined,
  );
  const past = (await fleet.admin.occurrences.query({ untilMs: clock.now() })).toReversed();
  expect(past.map(({ dueAt, command, state }) => [(dueAt - START) / HOUR, command, state])).toEqual([
    ...[
      [2, 'backup', 'succeeded'],
      [3, 'verify', 'succeeded'],
      [26, 'backup', 'succeeded'],
      [27, 'verify', 'succeeded'],
    ],
  ]);
  expect(await fleet.admin.backups.query({})).toHaveLength(2);
  expect(await fleet.admin.jobs.query({})).toHaveLength(4);

  // The numbers of the target, as data and as metrics.
  const token = (await fleet.admin.createToken.mutate({ name: 'prometheus', scope: 'read', expiresInHours: null }))
    .token;
  await fleet.until('the metrics of the backup', async () =>
    /^backup_success\{[^}]*\} 1$/m.test(await scrape(fleet.control, token)) ? true : undefined,
  );
  const text = await scrape(fleet.control, token);
  for (const name of ['backup_age_hours', 'backup_size_bytes', 'backup_duration_seconds'])
    expect(text).toMatch(
      new RegExp(`^${name}\\{environment="test",host="db-1",target="shop",engine="postgres"\\} [\\d.]+$`, 'm'),
    );
  const [status] = await fleet.admin.status.query({});
  const [newest] = await fleet.admin.backups.query({});
  // The recovery point is by the clock of the server, which is not set forward.
  const recoveryPointAt = Date.parse(newest?.recoveryPoint ?? '');
  expect(status?.objectives).toMatchObject({ rpoMs: 26 * HOUR, rtoMs: 4 * HOUR, recoveryPointAt });

  // Day 2: the server is down. The failed backup is reported by e-mail.
  await server.stop();
  clock.jumpTo(at(2, 2) + SECOND);
  await fleet.until('the failed backup', async () =>
    (await occurrence(at(2, 2)))?.state === 'failed' ? true : undefined,
  );
  await fleet.until('the alert', async () =>
    (await fleet.admin.alerts.query({})).some(({ code, state }) => code === 'backup_failed' && state === 'firing')
      ? true
      : undefined,
  );
  clock.jumpTo(clock.now() + MINUTE);
  const mail = await fleet.until('the mail', async () => inbox.received[0]);
  expect(mail.to).toEqual(['dba@example.org']);
  expect(headerOf(mail, 'Subject')).toContain('test/db-1/shop: last backup failed');
  const alerts = await lastgood('alerts', 'list');
  expect(alerts.stdout).toContain('backup_failed');
  const alert = (await fleet.admin.alerts.query({})).find(({ code }) => code === 'backup_failed');
  const taken = await lastgood('alerts', 'ack', alert?.alertId ?? '', '--note', 'starting it');
  expect(taken.stdout).toContain('acknowledged');
  const listed = await lastgood('occurrences', 'list', 'shop', '--state', 'failed');
  expect(listed.stdout).toMatch(/backup-logical +failed \(DATABASE_UNREACHABLE\)/);
});
