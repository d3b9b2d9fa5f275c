import type { z } from 'zod';
import type { createJobInputSchema, inputs } from './inputs.ts';
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
  whoAmI(): Promise<{ name: string; scope: Scope; version: string; protocol: number }>;
}
export interface AdminContext {
  readonly scope: Scope;
  readonly api: AdminApi;
}
