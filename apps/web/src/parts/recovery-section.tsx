import { instant } from '@lastgood/core/format';
import { newestPoint, type TimelineFacts } from '@lastgood/core/recovery-timeline';
import { Link, useNavigate } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { type TargetData, TIMELINE_AHEAD_MS, TIMELINE_PAST_MS } from '../data/queries.ts';
import { answerText, Timeline, type TimelineData } from './timeline.tsx';

const MINUTE_MS = 60_000;

/** The data of a timeline: the last week, and the runs that are due in the next day. */
export function timelineOf({ target, status, backups, occurrences, jobs, readAt }: TargetData): TimelineData {
  const isSilent = status !== undefined && status.hostState !== 'online';
  const lastReports = [
    ...backups.map(({ finishedAt }) => Date.parse(finishedAt)),
    ...jobs.map((job) => job.hostSeenAt ?? 0),
  ];
  const oldest = Math.min(...backups.map(({ recoveryPoint }) => Date.parse(recoveryPoint)), readAt);
  // A target whose first backup is an hour old gets a timeline of hours, not of an empty week.
  const pastMs = Math.min(TIMELINE_PAST_MS, Math.max((readAt - oldest) * 1.2, 5 * MINUTE_MS));
  const facts: TimelineFacts = {
    fromMs: readAt - pastMs,
    nowMs: readAt,
    windows: target?.windows ?? [],
    stream: target?.stream ?? null,
    backups: backups.map(({ backupId, recoveryPoint, state, method }) => ({
      backupId,
      atMs: Date.parse(recoveryPoint),
      isGood: state === 'good',
      method,
    })),
    silentSinceMs: isSilent ? Math.max(...lastReports, 0) : null,
  };
  const toMs = readAt + Math.min(TIMELINE_AHEAD_MS, pastMs * 0.1);
  const isShown = (atMs: number): boolean => atMs >= facts.fromMs && atMs <= toMs;
  return {
    facts,
    toMs,
    backups: backups.filter(({ recoveryPoint }) => isShown(Date.parse(recoveryPoint))),
    occurrences: occurrences.filter(({ dueAt }) => isShown(dueAt)),
  };
}

export interface TargetParams {
  readonly environment: string;
  readonly host: string;
  readonly target: string;
}

/** The timeline, and what a restore to the instant of its cursor brings back. */
export function RecoverySection({ data, params }: { readonly data: TargetData; readonly params: TargetParams }) {
  const timeline = useMemo(() => timelineOf(data), [data]);
  const [chosen, setChosen] = useState<number | null>(null);
  const navigate = useNavigate();
  const atMs = chosen ?? newestPoint(timeline.facts) ?? timeline.facts.nowMs;
  const { text, isRestorable } = answerText(timeline.facts, atMs);
  const search = { at: new Date(atMs).toISOString() };
  const to = '/targets/$environment/$host/$target/restore';
  return (
    <section aria-labelledby="recovery" className="recovery">
      <h2 id="recovery">What can be restored</h2>
      <Timeline data={timeline} atMs={atMs} move={setChosen} pick={() => void navigate({ to, params, search })} />
      <p className="cursor-answer">
        <b>{instant(atMs)}</b> · <span className={isRestorable ? 'ok' : 'bad'}>{text}</span>
        {isRestorable && (
          <>
            {' '}
            <Link to={to} params={params} search={search}>
              Restore to this instant …
            </Link>
          </>
        )}
      </p>
    </section>
  );
}
