import { bytes, duration } from '@lastgood/core/format';
import type { BackupView, DatabaseStatus, TargetStatus } from '@lastgood/protocol';
import { useState } from 'react';
import { DataTable } from './data-table.tsx';
import { Ago, Instant } from './instant.tsx';
import { StateMark } from './state-mark.tsx';

function restoreTimeText({ restoreTime }: DatabaseStatus): string {
  if (restoreTime.basis === 'unknown') return 'not measured';
  return restoreTime.basis === 'measured' ? duration(restoreTime.ms) : `${duration(restoreTime.ms)} (estimated)`;
}

function DatabaseRow({ database }: { readonly database: DatabaseStatus }) {
  const { state, copy, onServer, recoveryPoint, exposureMs, restoreTest } = database;
  return (
    <tr>
      <th scope="row">
        {database.database}
        {onServer === false && <small> not on the server</small>}
        {copy !== null && <small> restored from {copy.of}</small>}
      </th>
      <td>{state === null ? <span className="muted">excluded</span> : <StateMark state={state} />}</td>
      <td>{recoveryPoint === null ? <span className="bad">none</span> : <Instant at={recoveryPoint.at} />}</td>
      <td>{exposureMs === null ? '–' : duration(exposureMs)}</td>
      <td>{restoreTimeText(database)}</td>
      <td>
        {restoreTest === null ? (
          <span className="warn">never</span>
        ) : (
          <>
            level {restoreTest.level}, <Ago at={restoreTest.at} />
          </>
        )}
      </td>
    </tr>
  );
}

export function DatabaseTable({ status }: { readonly status: TargetStatus }) {
  if (status.databases.length === 0) return null;
  return (
    <section aria-labelledby="databases">
      <h2 id="databases">Databases</h2>
      <DataTable
        label="Databases"
        columns={['Database', 'State', 'Recovery point', 'Exposure', 'Restore time', 'Last restore test']}
      >
        {status.databases.map((database) => (
          <DatabaseRow key={database.database} database={database} />
        ))}
      </DataTable>
    </section>
  );
}

/** One sentence per verification level: what a backup that reached it has been checked for. */
const LEVELS = [
  'all objects are present',
  'stored bytes were re-read and match',
  'fully decoded',
  'passed the checker of its engine',
  'loaded into a scratch server',
  'queries and expectations hold there',
  'equal to the source',
] as const;
const FIRST_ROWS = 10;

function Verified({ verified }: { readonly verified: BackupView['verified'] }) {
  if (verified === null) return <span className="muted">never</span>;
  if (!verified.passed) return <span className="bad">failed</span>;
  return (
    <span title={LEVELS[verified.level]}>
      level {verified.level}, <Ago at={verified.at} />
    </span>
  );
}

export function BackupTable({ backups }: { readonly backups: readonly BackupView[] }) {
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole ? backups : backups.slice(0, FIRST_ROWS);
  return (
    <section aria-labelledby="backups">
      <h2 id="backups">Backups</h2>
      {backups.length === 0 ? (
        <p className="empty">There are no backups yet.</p>
      ) : (
        <DataTable
          label="Backups"
          columns={['Backup', 'Method', 'Recovery point', 'Contents', 'Stored', 'State', 'Verified']}
        >
          {shown.map((backup) => (
            <tr key={backup.backupId}>
              <th scope="row">
                <code>{backup.backupId.slice(-12)}</code>
                {backup.holdState === 'held' && <small> held</small>}
              </th>
              <td>{backup.method}</td>
              <td>
                <Instant at={backup.recoveryPoint} />
              </td>
              <td>{backup.contents.map(({ name }) => name).join(', ') || 'whole server'}</td>
              <td>{bytes(backup.storedBytes)}</td>
              <td className={backup.state === 'good' ? '' : 'bad'}>{backup.state}</td>
              <td>
                <Verified verified={backup.verified} />
              </td>
            </tr>
          ))}
        </DataTable>
      )}
      {backups.length > shown.length && (
        <button type="button" onClick={() => setWhole(true)}>
          Show all {backups.length} backups
        </button>
      )}
    </section>
  );
}
