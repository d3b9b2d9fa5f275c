import { readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PostgresServer } from '@lastgood/testkit';
import type { Fleet } from './fleet.ts';

/** The command lines of the tools that agents run against this server, found by their environment. */
export async function runningTools(server: PostgresServer): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '');
    if (!environment.includes('PGAPPNAME=lastgood') || !environment.includes(`PGPORT=${server.port}\0`)) continue;
    found.push((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' '));
  }
  return found.filter((line) => line !== '');
}

/** The leftovers of the jobs of this fleet when no job runs: processes, scratch servers, unpublished files, partially restored databases (I10). */
export async function findLeftovers(fleet: Fleet, server: PostgresServer): Promise<string[]> {
  const files = await readdir(join(fleet.folder, 'repository'), { recursive: true });
  const backups = files.filter((path) => /\/backups\/[^/]+$/.test(path));
  const scratch = (await readdir(tmpdir())).filter((name) =>
    fleet.agentPids.some((pid) => name.startsWith(`lastgood-scratch-${pid}-`)),
  );
  const databases = await server.query(
    'postgres',
    "select datname from pg_database where strpos(datname, '__lastgood_new_') > 0",
  );
  // The folder of a job ends with its attempt number. Other folders belong to probes, which may run at any time.
  const jobs = (await readdir(join(fleet.folder, 'agent', 'jobs')).catch(() => [])).filter((name) =>
    /\.\d+$/.test(name),
  );
  return [
    ...(await runningTools(server)),
    ...scratch,
    ...files.filter((path) => path.endsWith('.partial')),
    ...backups.filter((path) => !files.includes(join(path, 'manifest.json'))),
    ...jobs,
    ...databases.map((row) => String(row['datname'])),
  ];
}
