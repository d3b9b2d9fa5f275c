import { type AdminApi, PROTOCOL_VERSION } from '@lastgood/protocol';
import { VERSION } from '../version.ts';
import { AlertsService } from './alerts-service.ts';
import type { ApiParts } from './api-parts.ts';
import { BackupsService } from './backups-service.ts';
import { EvidenceService } from './evidence-service.ts';
import { FleetService } from './fleet-service.ts';
import { HostsService } from './hosts-service.ts';
import { JobsService } from './jobs-service.ts';
import { OccurrencesService } from './occurrences-service.ts';
import { RunbooksService } from './runbooks-service.ts';
import { StatusService } from './status-service.ts';
import { TargetsService } from './targets-service.ts';
import { TokensService } from './tokens-service.ts';
import { WatchService } from './watch-service.ts';

/** What one caller may do. Every change leaves an audit record in the same commit. */
export function createAdminApi(parts: ApiParts): AdminApi {
  const { actor, catalog } = parts;
  const hosts = new HostsService(parts);
  const targets = new TargetsService(parts);
  const status = new StatusService(parts);
  const backups = new BackupsService(parts);
  const jobs = new JobsService(parts);
  const tokens = new TokensService(parts);
  const fleet = new FleetService(parts);
  const occurrences = new OccurrencesService(parts);
  const alerts = new AlertsService(parts);
  const runbooks = new RunbooksService(parts);
  const evidence = new EvidenceService(parts);
  const watching = new WatchService(parts, jobs);
  return {
    whoAmI: async () => ({ name: actor.name, scope: actor.scope, version: VERSION, protocol: PROTOCOL_VERSION }),
    hosts: () => hosts.list(),
    targets: (input) => targets.list(input),
    status: (input) => status.list(input),
    backups: (input) => backups.list(input),
    backup: (backupId) => backups.get(backupId),
    selectBackup: (input) => backups.select(input),
    setAside: (input) => targets.setAside(input),
    jobs: (input) => jobs.list(input),
    job: (jobId) => jobs.get(jobId),
    createJob: (input) => jobs.create(input),
    cancelJob: (jobId) => jobs.cancel(jobId),
    tokens: () => tokens.list(),
    createToken: (input) => tokens.create(input),
    createEnrollToken: (input) => tokens.createEnroll(input),
    createSignInCode: async ({ expiresInMinutes }) =>
      parts.signInCodes.create(actor.tokenId, expiresInMinutes * 60_000),
    watch: (input, signal) => watching.watch(input, signal),
    revokeToken: (id) => tokens.revoke(id),
    fleetDiff: (input) => fleet.diff(input),
    applyFleet: (input) => fleet.apply(input),
    exportFleet: () => fleet.export(),
    occurrences: (input) => occurrences.list(input),
    alerts: (input) => alerts.list(input),
    acknowledgeAlert: (input) => alerts.acknowledge(input),
    runbooks: () => runbooks.list(),
    planRunbook: (input) => runbooks.plan(input),
    startRunbook: (input) => runbooks.start(input),
    runbookRuns: (input) => runbooks.runs(input),
    runbookRun: (runId) => runbooks.get(runId),
    resumeRunbook: (input) => runbooks.resume(input),
    evidence: (input) => evidence.list(input),
    evidenceReport: (sequence) => evidence.get(sequence),
    abortRunbook: (input) => runbooks.abort(input),
    audit: ({ limit }) => catalog.audit.list(limit),
  };
}
