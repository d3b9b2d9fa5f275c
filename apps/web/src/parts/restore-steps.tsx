import { instant } from '@lastgood/core/format';
import { answerAt, type TimelineFacts } from '@lastgood/core/recovery-timeline';
import { useId, useMemo } from 'react';
import type { TargetData } from '../data/queries.ts';
import type { RestoreChoice } from '../data/restore-request.ts';
import { timelineOf } from './recovery-section.tsx';
import { answerText, Timeline } from './timeline.tsx';

interface StepProps {
  readonly choice: RestoreChoice;
  readonly change: (next: Partial<RestoreChoice>) => void;
  readonly data: TargetData;
}

/** What a restore of the choice brings back. A log stream restores whole servers; one database comes from a backup. */
function answerOf({ at, way }: RestoreChoice, facts: TimelineFacts) {
  const atMs = Date.parse(at ?? '');
  if (Number.isNaN(atMs)) return null;
  const isWholeServer = way === 'folder';
  const answer = answerText(isWholeServer ? facts : { ...facts, windows: [] }, atMs);
  const isExactElsewhere = !isWholeServer && answerAt(facts, atMs).kind === 'exact';
  return { ...answer, isExactElsewhere };
}

const atText = (atMs: number): string => instant(atMs).replace(' ', 'T');

function InstantField({ choice, change, data }: StepProps) {
  const id = useId();
  const timeline = useMemo(() => timelineOf(data), [data]);
  const answer = answerOf(choice, timeline.facts);
  const atMs = Date.parse(choice.at ?? '');
  return (
    <>
      <Timeline
        data={timeline}
        atMs={Number.isNaN(atMs) ? timeline.facts.nowMs : atMs}
        move={(movedTo) => change({ at: atText(movedTo) })}
        pick={() => undefined}
      />
      <div className="field">
        <label htmlFor={id}>Instant, with its offset</label>
        <input
          id={id}
          className="mono wide"
          value={choice.at ?? ''}
          spellCheck={false}
          autoComplete="off"
          onChange={({ target }) => change({ at: target.value })}
        />
      </div>
      {answer !== null && (
        <p role="status">
          <span className={answer.isRestorable ? 'ok' : 'bad'}>{answer.text}</span>
          {answer.isExactElsewhere && (
            <small> To restore exactly this instant, choose the whole server, into a restore folder.</small>
          )}
        </p>
      )}
    </>
  );
}

/** Step 1: which instant. */
export function WhenStep({ choice, change, data }: StepProps) {
  const id = useId();
  return (
    <fieldset className="step">
      <legend>1 When</legend>
      <label>
        <input type="radio" name={`${id}when`} checked={choice.at === null} onChange={() => change({ at: null })} /> the
        newest recovery point
      </label>
      <label>
        <input
          type="radio"
          name={`${id}when`}
          checked={choice.at !== null}
          onChange={() => change({ at: atText(Date.now()) })}
        />{' '}
        an instant
      </label>
      {choice.at !== null && <InstantField choice={choice} change={change} data={data} />}
    </fieldset>
  );
}

const WAYS = [
  { way: 'new', label: 'beside it, into a new database', note: 'Nothing that exists is touched.' },
  { way: 'swap', label: 'swap: replace it and set the old data aside', note: 'Undo brings the old data back.' },
  { way: 'in-place', label: 'in place: overwrite it', note: 'Cannot be undone.' },
  { way: 'folder', label: 'the whole server, into a restore folder', note: 'Nothing that exists is touched.' },
] as const;

function DatabaseField({ choice, change, data }: StepProps) {
  const id = useId();
  const databases = data.status?.databases.filter(({ recoveryPoint }) => recoveryPoint !== null) ?? [];
  return (
    <div className="field">
      <label htmlFor={id}>Database</label>
      <select
        id={id}
        value={choice.database ?? ''}
        onChange={({ target }) => change({ database: target.value || null })}
      >
        {databases.map(({ database }) => (
          <option key={database}>{database}</option>
        ))}
        {choice.way !== 'new' && <option value="">the whole server</option>}
      </select>
    </div>
  );
}

/** Step 2: where the data goes, and which of it. */
export function WhereStep({ choice, change, data }: StepProps) {
  const id = useId();
  const first = data.status?.databases.find(({ recoveryPoint }) => recoveryPoint !== null)?.database ?? null;
  const choose = (way: RestoreChoice['way']): void => {
    const database = way === 'folder' ? null : (choice.database ?? first);
    const name = way === 'new' ? `${database ?? 'database'}_restored` : '';
    change({ way, name, database });
  };
  return (
    <fieldset className="step">
      <legend>2 Where</legend>
      {WAYS.map(({ way, label, note }) => (
        <label key={way}>
          <input type="radio" name={`${id}way`} checked={choice.way === way} onChange={() => choose(way)} /> {label}{' '}
          <small className="muted">{note}</small>
        </label>
      ))}
      <div className="fields">
        {choice.way !== 'folder' && <DatabaseField choice={choice} change={change} data={data} />}
        {(choice.way === 'new' || choice.way === 'folder') && (
          <div className="field">
            <label htmlFor={`${id}name`}>{choice.way === 'new' ? 'Name of the new database' : 'Restore folder'}</label>
            <input
              id={`${id}name`}
              value={choice.name}
              spellCheck={false}
              autoComplete="off"
              onChange={({ target }) => change({ name: target.value })}
            />
          </div>
        )}
      </div>
    </fieldset>
  );
}
