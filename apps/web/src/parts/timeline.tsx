import { answerAt, type TimelineFacts, type TimelineSpan, timelineSpans } from '@lastgood/core/recovery-timeline';
import type { BackupView, OccurrenceView } from '@lastgood/protocol';
import { type KeyboardEvent, type PointerEvent, type RefObject, useEffect, useMemo, useRef, useState } from 'react';
import { ticksBetween } from '../format/ticks.ts';
import { shortTime } from '../format/times.ts';

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const DAY_MS = 24 * HOUR_MS;
const HEIGHT = 152;
/** A tick with its label needs this width. */
const TICK_PX = 84;
const LANES = { days: 14, spans: 26, backups: 66, tests: 100, runs: 128 } as const;

export interface TimelineData {
  readonly facts: TimelineFacts;
  readonly toMs: number;
  readonly backups: readonly BackupView[];
  readonly occurrences: readonly OccurrenceView[];
}

export const SPAN_NAMES: Readonly<Record<TimelineSpan['kind'], string>> = {
  window: 'any instant',
  backups: 'backups only',
  gap: 'log missing',
  exposed: 'would be lost now',
  unknown: 'unknown: no report',
  none: 'nothing',
};

/** What a restore to an instant brings back, in one sentence. */
export function answerText(facts: TimelineFacts, atMs: number): { text: string; isRestorable: boolean } {
  const answer = answerAt(facts, atMs);
  switch (answer.kind) {
    case 'exact':
      return { text: 'restorable to this instant', isRestorable: true };
    case 'backup': {
      const at = shortTime(answer.backup.atMs, facts.nowMs);
      return { text: `the newest backup before it is ${answer.backup.method} of ${at}`, isRestorable: true };
    }
    case 'none':
      return { text: 'not restorable: no recovery point at or before it', isRestorable: false };
    case 'unknown':
      return { text: 'unknown: the host has not reported since', isRestorable: false };
    case 'future':
      return { text: 'in the future', isRestorable: false };
  }
}

/** The width of an element; circles stay round because nothing is scaled. */
function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useEffect(() => {
    const measured = element.current;
    if (measured === null) return;
    const observer = new ResizeObserver(([entry]) => setWidth(Math.round(entry?.contentRect.width ?? 0)));
    observer.observe(measured);
    return () => observer.disconnect();
  }, [element]);
  return width;
}

function Spans({ spans, x }: { readonly spans: readonly TimelineSpan[]; readonly x: (ms: number) => number }) {
  return spans.map(({ kind, fromMs, toMs }) => (
    <rect
      key={`${kind}${fromMs}`}
      x={x(fromMs)}
      width={Math.max(2, x(toMs) - x(fromMs))}
      y={LANES.spans}
      height="26"
      className={`span span-${kind}`}
    />
  ));
}

function Backups({ data, x }: { readonly data: TimelineData; readonly x: (ms: number) => number }) {
  return data.backups.map(({ backupId, recoveryPoint, state, verified }) => {
    const at = x(Date.parse(recoveryPoint));
    const isTested = verified?.passed === true && verified.level >= 4;
    const tested = isTested ? x(Date.parse(verified.at)) : null;
    return (
      <g key={backupId} className={state === 'good' ? (isTested ? 'backup tested' : 'backup') : 'backup not-good'}>
        <rect x={at - 3} y={LANES.backups - 9} width="6" height="18" rx="1.5" />
        {tested !== null && (
          <>
            <path d={`M${at} ${LANES.backups + 9}L${tested} ${LANES.tests}`} className="test-line" />
            <circle cx={tested} cy={LANES.tests} r="5" />
          </>
        )}
      </g>
    );
  });
}

const RUN_SHAPES: Readonly<Record<OccurrenceView['state'], string>> = {
  expected: 'M-4.5-4.5h9v9h-9z',
  waiting: 'M-4.5-4.5h9v9h-9z',
  running: 'M-4.5-4.5h9v9h-9z',
  succeeded: 'M-4.5-4.5h9v9h-9z',
  failed: 'M-4.5-4.5l9 9M4.5-4.5l-9 9',
  missed: 'M-4.5-4.5l9 9M4.5-4.5l-9 9',
  skipped: 'M-4.5 0h9',
};

function Runs({ data, x }: { readonly data: TimelineData; readonly x: (ms: number) => number }) {
  return data.occurrences.map(({ occurrenceId, dueAt, state }) => (
    <path
      key={occurrenceId}
      d={RUN_SHAPES[state]}
      transform={`translate(${x(dueAt)} ${LANES.runs})`}
      className={`run run-${state}`}
    />
  ));
}

function Drawing({
  data,
  width,
  atMs,
}: {
  readonly data: TimelineData;
  readonly width: number;
  readonly atMs: number;
}) {
  const { facts, toMs } = data;
  const { fromMs, nowMs } = facts;
  const spans = useMemo(() => timelineSpans(facts), [facts]);
  const x = (ms: number): number => Math.round(((ms - fromMs) / (toMs - fromMs)) * width * 10) / 10;
  return (
    <svg width={width} height={HEIGHT} aria-hidden="true">
      <defs>
        <pattern id="hatch-gap" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <rect width="7" height="7" className="hatch-ground" />
          <rect width="3" height="7" className="hatch-gap" />
        </pattern>
        <pattern id="hatch-unknown" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)">
          <rect width="7" height="7" className="hatch-ground" />
          <rect width="2.5" height="7" className="hatch-unknown" />
        </pattern>
      </defs>
      {ticksBetween(fromMs, toMs, width / TICK_PX).map(({ atMs: tickMs, label }) => (
        <g key={tickMs}>
          <path d={`M${x(tickMs)} 0V${HEIGHT}`} className="day-line" />
          <text x={x(tickMs) + 5} y={LANES.days} className="day-label">
            {label}
          </text>
        </g>
      ))}
      <Spans spans={spans} x={x} />
      <Backups data={data} x={x} />
      <Runs data={data} x={x} />
      <path d={`M${x(nowMs)} 0V${HEIGHT}`} className="now-line" />
      <path d={`M${x(atMs)} ${LANES.spans - 6}V${HEIGHT}`} className="cursor-line" />
      <path d={`M${x(atMs)} ${LANES.spans}l-5-8h10z`} className="cursor-head" />
    </svg>
  );
}

function Legend({ data }: { readonly data: TimelineData }) {
  const kinds = [...new Set(timelineSpans(data.facts).map(({ kind }) => kind))];
  return (
    <ul className="legend">
      {kinds.map((kind) => (
        <li key={kind}>
          <svg width="16" height="10" aria-hidden="true">
            <rect width="16" height="10" className={`span span-${kind}`} />
          </svg>
          {SPAN_NAMES[kind]}
        </li>
      ))}
      <li>
        <svg width="8" height="12" aria-hidden="true" className="backup">
          <rect width="6" height="12" rx="1.5" />
        </svg>
        backup
      </li>
      <li>
        <svg width="12" height="12" aria-hidden="true" className="backup tested">
          <circle cx="6" cy="6" r="5" />
        </svg>
        restore test
      </li>
    </ul>
  );
}

const STEPS: Readonly<Record<string, number>> = {
  ArrowLeft: -HOUR_MS,
  ArrowDown: -HOUR_MS,
  ArrowRight: HOUR_MS,
  ArrowUp: HOUR_MS,
  PageUp: -DAY_MS,
  PageDown: DAY_MS,
};

/** To which instants a target can be restored. The cursor moves with the arrow keys: an hour, with Shift a minute. */
export function Timeline({
  data,
  atMs,
  move,
  pick,
}: {
  readonly data: TimelineData;
  readonly atMs: number;
  readonly move: (atMs: number) => void;
  /** Called with Enter on a restorable instant. */
  readonly pick: (atMs: number) => void;
}) {
  const box = useRef<HTMLDivElement>(null);
  const width = useWidth(box);
  const { facts, toMs } = data;
  const { text, isRestorable } = answerText(facts, atMs);
  const clamp = (ms: number): number => Math.min(facts.nowMs, Math.max(facts.fromMs, ms));
  const press = (event: KeyboardEvent): void => {
    const step = STEPS[event.key];
    if (step !== undefined) move(clamp(atMs + (event.shiftKey ? Math.sign(step) * MINUTE_MS : step)));
    else if (event.key === 'Home') move(facts.fromMs);
    else if (event.key === 'End') move(facts.nowMs);
    else if (event.key === 'Enter' && isRestorable) pick(atMs);
    else return;
    event.preventDefault();
  };
  const point = (event: PointerEvent<HTMLDivElement>): void => {
    if (event.type === 'pointermove' && event.buttons === 0) return;
    const { left } = event.currentTarget.getBoundingClientRect();
    move(clamp(facts.fromMs + ((event.clientX - left) / width) * (toMs - facts.fromMs)));
  };
  return (
    <>
      <div
        ref={box}
        className="timeline"
        role="slider"
        tabIndex={0}
        aria-label="Instant to restore"
        aria-valuemin={facts.fromMs}
        aria-valuemax={facts.nowMs}
        aria-valuenow={atMs}
        aria-valuetext={`${shortTime(atMs, facts.nowMs)}: ${text}`}
        onKeyDown={press}
        onPointerDown={point}
        onPointerMove={point}
      >
        {width > 0 && <Drawing data={data} width={width} atMs={atMs} />}
      </div>
      <Legend data={data} />
    </>
  );
}
