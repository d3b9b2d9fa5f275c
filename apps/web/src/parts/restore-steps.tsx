import { instant } from '@lastgood/core/format';
import { useId } from 'react';
import type { TargetData } from '../data/queries.ts';
import type { RestoreChoice } from '../data/restore-request.ts';

type Change = (next: Partial<RestoreChoice>) => void;

/** Step 1: which instant. */
export function WhenStep({
  choice,
  change,
  answer,
}: {
  readonly choice: RestoreChoice;
  readonly change: Change;
  /** What a restore to the instant brings back; null while the instant cannot be read. */
  readonly answer: { readonly text: string; readonly isRestorable: boolean } | null;
}) {
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
          onChange={() => change({ at: instant(Date.now()).replace(' ', 'T') })}
        />{' '}
        an instant
      </label>
      {choice.at !== null && (
        <div className="field">
          <label htmlFor={`${id}at`}>Instant, with its offset</label>
          <input
            id={`${id}at`}
            className="mono wide"
            value={choice.at}
            spellCheck={false}
            autoComplete="off"
            onChange={({ target }) => change({ at: target.value })}
          />
        </div>
      )}
      {answer !== null && choice.at !== null && (
        <p className={answer.isRestorable ? 'ok' : 'bad'} role="status">
          {answer.text}
        </p>
      )}
    </fieldset>
  );
}

const WAYS = [
  { way: 'new', label: 'beside it, into a new database', note: 'Nothing that exists is touched.' },
  { way: 'swap', label: 'swap: replace it and set the old data aside', note: 'Undo brings the old data back.' },
  { way: 'in-place', label: 'in place: overwrite it', note: 'Cannot be undone.' },
  { way: 'folder', label: 'the whole server, into a restore folder', note: 'Nothing that exists is touched.' },
] as const;

function DatabaseField({
  choice,
  change,
  data,
}: {
  readonly choice: RestoreChoice;
  readonly change: Change;
  readonly data: TargetData;
}) {
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
export function WhereStep({
  choice,
  change,
  data,
}: {
  readonly choice: RestoreChoice;
  readonly change: Change;
  readonly data: TargetData;
}) {
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
