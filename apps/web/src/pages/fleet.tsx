import { useQuery } from '@tanstack/react-query';
import { getRouteApi, Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import { compareRows, countStates, fleetRowOf, STATE_ORDER, type TargetState, verdictOf } from '../data/fleet-row.ts';
import { fleetQuery } from '../data/queries.ts';
import { FailureNotice, Loading } from '../parts/failure-notice.tsx';
import { FleetList } from '../parts/fleet-list.tsx';
import { FleetTiles } from '../parts/fleet-tiles.tsx';
import { STATE_MEANINGS, STATE_NAMES, StateShape } from '../parts/state-mark.tsx';

const route = getRouteApi('/app/');

function StateFilters({ counts }: { readonly counts: ReadonlyMap<TargetState, number> }) {
  const { state: selected } = route.useSearch();
  return (
    <ul className="filters" aria-label="Filter by state">
      {STATE_ORDER.filter((state) => (counts.get(state) ?? 0) > 0 || state === selected).map((state) => (
        <li key={state}>
          <Link
            to="/"
            search={(before) => ({ ...before, state: selected === state ? undefined : state })}
            className={`chip state-${state}`}
            data-selected={selected === state}
            title={STATE_MEANINGS[state]}
          >
            <StateShape state={state} />
            <b>{counts.get(state) ?? 0}</b> {STATE_NAMES[state]}
            {selected === state && <span className="visually-hidden">, selected</span>}
          </Link>
        </li>
      ))}
    </ul>
  );
}

function EnvironmentFilter({ environments }: { readonly environments: readonly string[] }) {
  const { environment: selected } = route.useSearch();
  const navigate = route.useNavigate();
  if (environments.length < 2) return null;
  return (
    <label className="inline">
      Environment{' '}
      <select
        value={selected ?? ''}
        onChange={({ target }) =>
          void navigate({ search: (before) => ({ ...before, environment: target.value || undefined }) })
        }
      >
        <option value="">all</option>
        {environments.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </label>
  );
}

function ViewSwitch() {
  const { view } = route.useSearch();
  return (
    <div className="switch">
      {(['list', 'tiles'] as const).map((each) => (
        <Link
          key={each}
          to="/"
          search={(before) => ({ ...before, view: each === 'tiles' ? 'tiles' : undefined })}
          data-selected={(view ?? 'list') === each}
        >
          {each === 'list' ? 'List' : 'Tiles'}
        </Link>
      ))}
    </div>
  );
}

/** The whole fleet, worst first: what would be lost now, how long a restore takes, and when that was last tested. */
export function Fleet() {
  const { data, error, isPending } = useQuery(fleetQuery);
  const { state, environment, view } = route.useSearch();
  const rows = useMemo(() => (data ?? []).map(fleetRowOf).sort(compareRows), [data]);
  if (isPending) return <Loading what="the fleet" />;
  if (data === undefined) return <FailureNotice error={error} title="The fleet cannot be shown" />;
  const inEnvironment = rows.filter((row) => environment === undefined || row.environment === environment);
  const shown = inEnvironment.filter((row) => state === undefined || row.state === state);
  const environments = [...new Set(rows.map((row) => row.environment))].toSorted();
  return (
    <>
      <div className="page-head">
        <h1 className="verdict">{verdictOf(inEnvironment)}</h1>
        <EnvironmentFilter environments={environments} />
        <ViewSwitch />
      </div>
      <StateFilters counts={countStates(inEnvironment)} />
      {rows.length === 0 ? (
        <p className="empty">
          Enroll the first host: <code>lastgood tokens enroll prod db-1</code>
        </p>
      ) : view === 'tiles' ? (
        <FleetTiles rows={shown} />
      ) : (
        <FleetList rows={shown} />
      )}
    </>
  );
}
