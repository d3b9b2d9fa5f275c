import { QueryClientProvider } from '@tanstack/react-query';
import {
  createRootRoute,
  createRoute,
  createRouter,
  Link,
  lazyRouteComponent,
  RouterProvider,
  redirect,
} from '@tanstack/react-router';
import { createRoot } from 'react-dom/client';
import { queryClient } from './data/query-client.ts';
import { sessionQuery } from './data/session.ts';
import { applyStoredTheme } from './parts/theme.ts';
import { readFleetSearch } from './search/fleet-search.ts';
import { readRestoreSearch } from './search/restore-search.ts';
import './style/base.css';
import './style/parts.css';

const root = createRootRoute({
  notFoundComponent: () => (
    <main className="sign-in">
      <h1>Page not found</h1>
      <p>
        <Link to="/">Go to the fleet</Link>
      </p>
    </main>
  ),
});
const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  component: lazyRouteComponent(() => import('./pages/sign-in.tsx'), 'SignIn'),
});
const app = createRoute({
  getParentRoute: () => root,
  id: 'app',
  // The sign-in page needs no client of the API.
  component: lazyRouteComponent(() => import('./parts/shell.tsx'), 'Shell'),
  beforeLoad: async () => {
    const { user } = await queryClient.ensureQueryData(sessionQuery);
    if (user === null) throw redirect({ to: '/sign-in' });
  },
});
const page = <const Path extends string>(path: Path) => ({ getParentRoute: () => app, path });
const fleet = createRoute({
  ...page('/'),
  validateSearch: readFleetSearch,
  component: lazyRouteComponent(() => import('./pages/fleet.tsx'), 'Fleet'),
});
const target = createRoute({
  ...page('/targets/$environment/$host/$target'),
  component: lazyRouteComponent(() => import('./pages/target.tsx'), 'Target'),
});
const restore = createRoute({
  ...page('/targets/$environment/$host/$target/restore'),
  validateSearch: readRestoreSearch,
  component: lazyRouteComponent(() => import('./pages/restore.tsx'), 'Restore'),
});
const jobs = createRoute({
  ...page('/jobs'),
  component: lazyRouteComponent(() => import('./pages/jobs.tsx'), 'Jobs'),
});
const job = createRoute({
  ...page('/jobs/$jobId'),
  component: lazyRouteComponent(() => import('./pages/job.tsx'), 'Job'),
});
const schedules = createRoute({
  ...page('/schedules'),
  component: lazyRouteComponent(() => import('./pages/schedules.tsx'), 'Schedules'),
});
const restoreTests = createRoute({
  ...page('/restore-tests'),
  component: lazyRouteComponent(() => import('./pages/restore-tests.tsx'), 'RestoreTests'),
});
const alerts = createRoute({
  ...page('/alerts'),
  component: lazyRouteComponent(() => import('./pages/alerts.tsx'), 'Alerts'),
});
const hosts = createRoute({
  ...page('/hosts'),
  component: lazyRouteComponent(() => import('./pages/hosts.tsx'), 'Hosts'),
});

const runbooks = createRoute({
  ...page('/runbooks'),
  component: lazyRouteComponent(() => import('./pages/runbooks.tsx'), 'Runbooks'),
});
const runbookPlan = createRoute({
  ...page('/runbooks/$runbook/$mode'),
  component: lazyRouteComponent(() => import('./pages/runbook-plan.tsx'), 'RunbookPlanPage'),
});
const run = createRoute({
  ...page('/runs/$runId'),
  component: lazyRouteComponent(() => import('./pages/run.tsx'), 'Run'),
});

const pages = [
  fleet,
  target,
  restore,
  jobs,
  job,
  schedules,
  restoreTests,
  alerts,
  hosts,
  runbooks,
  runbookPlan,
  run,
] as const;
const router = createRouter({
  routeTree: root.addChildren([signIn, app.addChildren(pages)]),
  defaultPreload: 'intent',
  scrollRestoration: true,
});
declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}

applyStoredTheme();
const container = document.getElementById('root');
if (container !== null)
  createRoot(container).render(
    <QueryClientProvider client={queryClient}>
      <RouterProvider router={router} />
    </QueryClientProvider>,
  );
