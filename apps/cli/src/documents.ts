import type { AuditEntry, HostView, JobView, TokenView } from '@lastgood/protocol';

/**
 * JSON documents for scripts. Every instant is an ISO 8601 text, and the document of a command is one object with the version of
 * its format, so that a key can be added to it.
 */
export const DOCUMENT_VERSION = 1;

const iso = (at: number): string => new Date(at).toISOString();
const isoOrNull = (at: number | null): string | null => (at === null ? null : iso(at));

export const jobDocument = ({ progress, ...job }: JobView): object => ({
  ...job,
  createdAt: iso(job.createdAt),
  startedAt: isoOrNull(job.startedAt),
  endedAt: isoOrNull(job.endedAt),
  startBy: iso(job.startBy),
  hostSeenAt: isoOrNull(job.hostSeenAt),
  progress: progress === null ? null : { ...progress, at: iso(progress.at) },
});

export const hostDocument = (host: HostView): object => ({ ...host, since: iso(host.since) });

export const tokenDocument = (token: TokenView): object => ({
  ...token,
  createdAt: iso(token.createdAt),
  expiresAt: isoOrNull(token.expiresAt),
  lastUsedAt: isoOrNull(token.lastUsedAt),
  revokedAt: isoOrNull(token.revokedAt),
});

export const auditDocument = (entry: AuditEntry): object => ({ ...entry, at: iso(entry.at) });
