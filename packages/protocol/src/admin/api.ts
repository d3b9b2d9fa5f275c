import type { z } from 'zod';
import type { EvidenceView, StoredEvidence } from './evidence-views.ts';
import type { AlertView, FleetDiffView, FleetFileView, OccurrenceView } from './fleet-views.ts';
import type { createJobInputSchema, inputs } from './inputs.ts';
import type { RunbookPlan, RunbookRun, RunbookRunView, RunbookView } from './runbook-views.ts';
import type { Scope } from './scope.ts';
import type {
  AuditEntry,
  BackupView,
  HostView,
  JobView,
  SelectedBackup,
  SetAsideView,
  TargetStatus,
  TargetView,
  TokenView,
} from './views.ts';
import type { WatchEvent } from './watch-event.ts';

/** What the control plane does for people and scripts; failures are thrown as an object with `wireError`. */
export interface AdminApi {
  hosts(): Promise<HostView[]>;
  targets(input: z.output<typeof inputs.targets>): Promise<TargetView[]>;
  status(input: z.output<typeof inputs.status>): Promise<TargetStatus[]>;
  backups(input: z.output<typeof inputs.backups>): Promise<BackupView[]>;
  backup(backupId: string): Promise<BackupView>;
  /** Throws NOT_FOUND when no backup fits, BAD_INPUT when it is unclear which one is meant. */
  selectBackup(input: z.output<typeof inputs.selectBackup>): Promise<SelectedBackup>;
  jobs(input: z.output<typeof inputs.jobs>): Promise<JobView[]>;
  job(jobId: string): Promise<JobView>;
  createJob(input: z.output<typeof createJobInputSchema>): Promise<JobView>;
  cancelJob(jobId: string): Promise<JobView>;
  setAside(input: z.output<typeof inputs.setAside>): Promise<SetAsideView[]>;
  tokens(): Promise<TokenView[]>;
  createToken(input: z.output<typeof inputs.createToken>): Promise<{ token: string; view: TokenView }>;
  /** Throws CONFLICT when the host is enrolled and `replace` is not set. */
  createEnrollToken(input: z.output<typeof inputs.createEnrollToken>): Promise<{ token: string; view: TokenView }>;
  revokeToken(id: string): Promise<TokenView>;
  audit(input: z.output<typeof inputs.audit>): Promise<AuditEntry[]>;
  /** Compares a fleet file with the one in force. Throws CONFIG_INVALID with every problem of the file. */
  fleetDiff(input: z.output<typeof inputs.fleetDiff>): Promise<FleetDiffView>;
  /** Puts a fleet file in force. Throws as fleetDiff does, NOT_CONFIRMED when it loses something, CONFLICT. */
  applyFleet(input: z.output<typeof inputs.applyFleet>): Promise<FleetDiffView>;
  exportFleet(): Promise<FleetFileView>;
  /** The latest first. */
  occurrences(input: z.output<typeof inputs.occurrences>): Promise<OccurrenceView[]>;
  /** The newest first. */
  alerts(input: z.output<typeof inputs.alerts>): Promise<AlertView[]>;
  /** Throws NOT_FOUND when no open alert has this id. */
  acknowledgeAlert(input: z.output<typeof inputs.acknowledgeAlert>): Promise<AlertView>;
  runbooks(): Promise<RunbookView[]>;
  /** Throws NOT_FOUND for an unknown runbook, BAD_INPUT for an alternative that it does not have. What refuses the plan is part of it. */
  planRunbook(input: z.output<typeof inputs.planRunbook>): Promise<RunbookPlan>;
  /** Throws PLAN_CHANGED, NOT_CONFIRMED, FORBIDDEN, CONFLICT when a run of it has not ended. The same key returns the same run. */
  startRunbook(input: z.output<typeof inputs.startRunbook>): Promise<RunbookRunView>;
  /** The newest first. */
  runbookRuns(input: z.output<typeof inputs.runbookRuns>): Promise<RunbookRun[]>;
  runbookRun(runId: string): Promise<RunbookRunView>;
  /** Throws CONFLICT when the step is not in a state for the decision. */
  resumeRunbook(input: z.output<typeof inputs.resumeRunbook>): Promise<RunbookRunView>;
  /** Reports of runs and drills that have ended, the newest first. */
  evidence(input: z.output<typeof inputs.evidence>): Promise<EvidenceView[]>;
  evidenceReport(sequence: number): Promise<StoredEvidence>;
  abortRunbook(input: z.output<typeof inputs.abortRunbook>): Promise<RunbookRunView>;
  /** A code that signs a browser in with the token of the caller, once and within its time. */
  createSignInCode(input: z.output<typeof inputs.createSignInCode>): Promise<{ code: string; expiresAt: number }>;
  /** Ends after some minutes, so that a session that was revoked ends as well; subscribe again then. */
  watch(input: z.output<typeof inputs.watch>, signal: AbortSignal): AsyncIterable<WatchEvent>;
  whoAmI(): Promise<{ name: string; scope: Scope; version: string; protocol: number }>;
}
export interface AdminContext {
  readonly scope: Scope;
  readonly api: AdminApi;
}
