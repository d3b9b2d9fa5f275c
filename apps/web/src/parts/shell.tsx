import { useQuery } from '@tanstack/react-query';
import { Link, Outlet, useNavigate, useParams } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useState } from 'react';
import { useLiveStream, useStreamState } from '../data/live.ts';
import { sessionQuery, signOut } from '../data/session.ts';
import { shortTime } from '../format/times.ts';
import { Ago } from './instant.tsx';
import { Logo } from './logo.tsx';
import { toggleTheme } from './theme.ts';

const loadPalette = () => import('./palette.tsx');
const Palette = lazy(loadPalette);

const LINKS = [
  { to: '/', label: 'Fleet' },
  { to: '/jobs', label: 'Jobs' },
  { to: '/schedules', label: 'Schedules' },
  { to: '/restore-tests', label: 'Restore tests' },
  { to: '/alerts', label: 'Alerts' },
  { to: '/runbooks', label: 'Runbooks' },
  { to: '/hosts', label: 'Hosts' },
] as const;

/** Whether the page is current. While it is not, the page below loses its colors: old data must not look like new data. */
function StreamBanner() {
  const stream = useStreamState();
  if (stream.kind !== 'lost') return null;
  return (
    <div className="stale-banner" role="alert">
      <strong>Not connected to the control plane.</strong>{' '}
      {stream.sinceMs === null ? (
        'Nothing on this page is current.'
      ) : (
        <>
          This page shows what was known at {shortTime(stream.sinceMs, Date.now())} (<Ago at={stream.sinceMs} />
          ).
        </>
      )}{' '}
      Jobs continue on their hosts. Connecting again …
    </div>
  );
}

function StreamMark() {
  const stream = useStreamState();
  switch (stream.kind) {
    case 'live':
      return <span className="live">as of {shortTime(stream.atMs, stream.atMs)} · live</span>;
    case 'connecting':
      return <span className="live muted">connecting …</span>;
    case 'lost':
      return <span className="live bad">not connected</span>;
  }
}

const isTyping = ({ target }: KeyboardEvent): boolean =>
  target instanceof HTMLElement && ['INPUT', 'TEXTAREA', 'SELECT'].includes(target.tagName);

/** Ctrl+K and `/` open the palette. */
function usePaletteKey(open: () => void): void {
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      const isShortcut = (event.ctrlKey || event.metaKey) && event.key === 'k';
      if (!isShortcut && (event.key !== '/' || isTyping(event))) return;
      event.preventDefault();
      open();
    };
    addEventListener('keydown', listen);
    return () => removeEventListener('keydown', listen);
  }, [open]);
}

/** The frame of every page behind the sign-in. */
export function Shell() {
  const { data: session } = useQuery(sessionQuery);
  const { jobId } = useParams({ strict: false });
  const navigate = useNavigate();
  const [isPaletteOpen, setPaletteOpen] = useState(false);
  useLiveStream(jobId);
  usePaletteKey(() => setPaletteOpen(true));
  // Loaded before it is needed, so that no key is lost.
  useEffect(() => void loadPalette(), []);
  const isLost = useStreamState().kind === 'lost';
  const user = session?.user ?? null;
  useEffect(() => {
    if (session !== undefined && user === null) void navigate({ to: '/sign-in' });
  }, [session, user, navigate]);
  return (
    <div className="shell" data-stale={isLost ? '' : undefined}>
      <a className="skip" href="#main">
        Skip to content
      </a>
      <header>
        <Link to="/" className="brand">
          <Logo /> Lastgood
        </Link>
        <nav aria-label="Main">
          {LINKS.map(({ to, label }) => (
            <Link key={to} to={to} activeOptions={{ exact: to === '/' }} activeProps={{ 'aria-current': 'page' }}>
              {label}
            </Link>
          ))}
        </nav>
        <StreamMark />
        <button type="button" className="quiet" onClick={() => setPaletteOpen(true)} aria-keyshortcuts="Control+K">
          Search <kbd>Ctrl K</kbd>
        </button>
        <button type="button" className="quiet icon" onClick={toggleTheme} aria-label="Switch between dark and light">
          <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
            <circle cx="8" cy="8" r="6.5" fill="none" stroke="currentColor" strokeWidth="1.5" />
            <path d="M8 1.5a6.5 6.5 0 010 13z" fill="currentColor" />
          </svg>
        </button>
        <button
          type="button"
          className="quiet"
          onClick={() => void signOut()}
          title={user === null ? '' : `Signed in as ${user.name}, scope ${user.scope}`}
        >
          Sign out
        </button>
      </header>
      <StreamBanner />
      <main id="main" tabIndex={-1}>
        <Outlet />
      </main>
      {isPaletteOpen && (
        <Suspense>
          <Palette close={() => setPaletteOpen(false)} />
        </Suspense>
      )}
    </div>
  );
}
