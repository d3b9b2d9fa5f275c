import { useQuery } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { type KeyboardEvent, useEffect, useId, useRef, useState } from 'react';
import { fleetQuery } from '../data/queries.ts';
import { signOut } from '../data/session.ts';
import { toggleTheme } from './theme.ts';

interface Entry {
  readonly label: string;
  readonly hint: string;
  readonly run: () => void;
}
const MAX_SHOWN = 12;

/** Every word that was typed occurs in the label. */
const matches = (label: string, typed: string): boolean =>
  typed
    .toLowerCase()
    .split(/\s+/)
    .every((word) => label.toLowerCase().includes(word));

function useEntries(): Entry[] {
  const navigate = useNavigate();
  const { data = [] } = useQuery(fleetQuery);
  const pages = [
    ['Fleet', '/'],
    ['Jobs', '/jobs'],
    ['Schedules', '/schedules'],
    ['Restore tests', '/restore-tests'],
    ['Alerts', '/alerts'],
    ['Runbooks', '/runbooks'],
    ['Hosts', '/hosts'],
  ] as const;
  return [
    ...pages.map(([label, to]) => ({ label, hint: 'page', run: () => void navigate({ to }) })),
    ...data.flatMap(({ environment, host, target }): Entry[] => {
      if (target === null) return [];
      const params = { environment, host, target };
      const name = `${environment}/${host}/${target}`;
      return [
        {
          label: `Open ${name}`,
          hint: 'target',
          run: () => void navigate({ to: '/targets/$environment/$host/$target', params }),
        },
        {
          label: `Restore ${name} …`,
          hint: 'restore',
          run: () => void navigate({ to: '/targets/$environment/$host/$target/restore', params }),
        },
      ];
    }),
    { label: 'Switch between dark and light', hint: 'view', run: toggleTheme },
    { label: 'Sign out', hint: 'session', run: () => void signOut() },
  ];
}

/** Pages, targets and actions by name: type, choose with the arrow keys, Enter. */
export default function Palette({ close }: { readonly close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const [typed, setTyped] = useState('');
  const [index, setIndex] = useState(0);
  const shown = useEntries()
    .filter(({ label }) => matches(label, typed))
    .slice(0, MAX_SHOWN);
  const active = Math.min(index, shown.length - 1);
  useEffect(() => dialog.current?.showModal(), []);
  const run = (entry: Entry | undefined): void => {
    if (entry === undefined) return;
    close();
    entry.run();
  };
  const press = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown') setIndex(Math.min(active + 1, shown.length - 1));
    else if (event.key === 'ArrowUp') setIndex(Math.max(active - 1, 0));
    else if (event.key === 'Enter') run(shown[active]);
    else return;
    event.preventDefault();
  };
  return (
    <dialog ref={dialog} className="palette" aria-label="Search" onClose={close} closedby="any">
      <input
        role="combobox"
        aria-label="Page, target or action"
        aria-expanded="true"
        aria-controls={`${id}list`}
        aria-activedescendant={shown.length > 0 ? `${id}${active}` : undefined}
        placeholder="Page, target or action"
        autoComplete="off"
        spellCheck={false}
        value={typed}
        onChange={({ target }) => {
          setTyped(target.value);
          setIndex(0);
        }}
        onKeyDown={press}
      />
      <div role="listbox" id={`${id}list`} aria-label="Results" tabIndex={-1}>
        {shown.map((entry, position) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the keys are handled by the field above
          <div
            role="option"
            key={entry.label}
            id={`${id}${position}`}
            aria-selected={position === active}
            tabIndex={-1}
            onClick={() => run(entry)}
          >
            {entry.label} <small>{entry.hint}</small>
          </div>
        ))}
      </div>
      {shown.length === 0 && <p className="muted">Nothing matches.</p>}
    </dialog>
  );
}
