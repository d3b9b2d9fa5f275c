import { mergeCopies, summariesOf, toWireError } from '@lastgood/core';
import { type BackupSummary, type Finding, makeFinding, type TargetRef } from '@lastgood/protocol';
import type { CopyRepository } from '../jobs/targets.ts';

/** A copy that is still missing after this time is a finding. */
const COPY_OVERDUE_MS = 24 * 3_600_000;

/** What one repository of copies holds. */
export interface CopyScan {
  readonly repository: string;
  /** Null: it could not be read. */
  readonly backups: readonly BackupSummary[] | null;
  readonly removed: readonly string[];
  readonly findings: readonly Finding[];
}
interface FirstScan {
  readonly backups: readonly BackupSummary[] | null;
  readonly removed: readonly string[];
  readonly findings: readonly Finding[];
}

/** Reads a repository of copies. One that cannot be read is a finding. */
export async function readCopies(
  { name, open }: CopyRepository,
  ref: TargetRef,
  run: <T>(name: string, work: () => Promise<T>) => Promise<T>,
): Promise<CopyScan> {
  try {
    return await run(name, async () => {
      const repository = await open();
      const { backups } = await repository.list(ref);
      const removed = await repository.removed(ref);
      return { repository: name, backups: summariesOf(backups, name), removed, findings: [] };
    });
  } catch (error) {
    const { code, message } = toWireError(error);
    const finding = makeFinding('COPY_REPOSITORY_UNREADABLE', null, { repository: name, error: code, reason: message });
    return { repository: name, backups: null, removed: [], findings: [finding] };
  }
}

/** What the first repository of a target and its copies add up to. */
export function withCopies(first: FirstScan, copies: readonly CopyScan[], now: number): FirstScan {
  const isGone = ({ removed }: { readonly removed: readonly string[] }, { backupId }: BackupSummary): boolean =>
    removed.includes(backupId);
  const perRepository = [first, ...copies].map((scan) => (scan.backups ?? []).filter((each) => !isGone(scan, each)));
  const backups = mergeCopies(perRepository);
  const listed = new Set(backups.map(({ backupId }) => backupId));
  // What a rotation has removed from one repository only is still there.
  const removed = [...new Set([first, ...copies].flatMap((scan) => scan.removed))].filter((id) => !listed.has(id));
  const isUnread = first.backups === null && copies.every((copy) => copy.backups === null);
  return {
    backups: isUnread ? null : backups,
    removed,
    findings: [
      ...first.findings,
      ...copies.flatMap((copy) => [...copy.findings, ...missingIn(copy, first, now), ...badIn(copy)]),
    ],
  };
}

function missingIn({ repository, backups, removed }: CopyScan, first: FirstScan, now: number): Finding[] {
  if (backups === null) return [];
  const known = new Set([...removed, ...backups.map(({ backupId }) => backupId)]);
  const missing = (first.backups ?? []).filter(
    ({ backupId, state, finishedAt }) =>
      state !== 'bad' && !known.has(backupId) && Date.parse(finishedAt) < now - COPY_OVERDUE_MS,
  );
  return missing.length === 0 ? [] : [makeFinding('COPIES_MISSING', null, { repository, count: missing.length })];
}

const badIn = ({ repository, backups }: CopyScan): Finding[] =>
  (backups ?? []).flatMap(({ backupId, state }) =>
    state === 'bad' ? [makeFinding('COPY_BAD', { kind: 'backup', name: backupId }, { repository })] : [],
  );
