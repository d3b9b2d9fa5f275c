import { Link } from '@tanstack/react-router';
import type { FleetRow } from '../data/fleet-row.ts';
import { STATE_NAMES, StateShape } from './state-mark.tsx';

/** One tile per target, worst first: 500 fit on one screen. */
export function FleetTiles({ rows }: { readonly rows: readonly FleetRow[] }) {
  return (
    <ul className="tiles" aria-label="Targets, worst first">
      {rows.map(({ name, environment, host, target, state }) => (
        <li key={name}>
          {target === null ? (
            <span className={`tile state-${state}`} title={`${name}: ${STATE_NAMES[state]}`}>
              <StateShape state={state} />
            </span>
          ) : (
            <Link
              to="/targets/$environment/$host/$target"
              params={{ environment, host, target }}
              className={`tile state-${state}`}
              title={`${name}: ${STATE_NAMES[state]}`}
              aria-label={`${name}: ${STATE_NAMES[state]}`}
            >
              <StateShape state={state} />
            </Link>
          )}
        </li>
      ))}
    </ul>
  );
}
