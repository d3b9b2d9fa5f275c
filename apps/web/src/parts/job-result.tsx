import { bytes, duration } from '@lastgood/core/format';
import { formatFinding, type JobResult } from '@lastgood/protocol';
import type { ReactNode } from 'react';
import { DetailValue } from './detail-value.tsx';
import { FindingList } from './findings.tsx';
import { Instant } from './instant.tsx';
import { PlanView } from './plan-view.tsx';

const Row = ({ label, children }: { readonly label: string; readonly children: ReactNode }) => (
  <div>
    <dt>{label}</dt>
    <dd>{children}</dd>
  </div>
);

type ResultOf<C extends JobResult['command']> = Extract<JobResult, { command: C }>;

function BackupRows({ result }: { readonly result: ResultOf<'backup'> }) {
  const { backup } = result;
  return (
    <>
      <Row label="Recovery point">
        <Instant at={backup.recoveryPoint} />
      </Row>
      <Row label="Contents">{backup.contents.map(({ name }) => name).join(', ') || 'whole server'}</Row>
      <Row label="Size">
        {bytes(backup.producedBytes)}, stored as {bytes(backup.storedBytes)}, read back and equal
      </Row>
      <Row label="Duration">{duration(result.durationMs)}</Row>
      <Row label="State">{backup.state}</Row>
    </>
  );
}

function VerifyRows({ result }: { readonly result: ResultOf<'verify'> }) {
  return (
    <>
      <Row label="Outcome">
        {result.passed ? <b className="ok">passed</b> : <b className="bad">failed</b>}, reached level {result.reached}{' '}
        of {result.level}
      </Row>
      <Row label="Duration">{duration(result.durationMs)}</Row>
      {result.findings.map((finding) => (
        <Row key={`${finding.code}${finding.object}`} label={`Level ${finding.level}`}>
          {formatFinding(finding)}
        </Row>
      ))}
    </>
  );
}

function RotateRows({ result }: { readonly result: ResultOf<'rotate'> }) {
  return (
    <>
      <Row label={result.dryRun ? 'Would stay' : 'Kept'}>{result.keptCount}</Row>
      <Row label={result.dryRun ? 'Would be removed' : 'Removed'}>{result.removedCount}</Row>
      <Row label="Freed">{bytes(result.freedBytes)}</Row>
    </>
  );
}

function RestoreRows({ result }: { readonly result: ResultOf<'restore'> }) {
  return (
    <>
      <Row label="Restored into">
        <code>{result.into}</code>
      </Row>
      <Row label="Recovery point">
        <Instant at={result.recoveryPoint} />
      </Row>
      <Row label="Restore time">{duration(result.durationMs)}</Row>
      {result.counts.map((detail) => (
        <Row key={detail.label} label={detail.label}>
          <DetailValue detail={detail} />, equal to the backup
        </Row>
      ))}
      {result.setAsideAs !== null && (
        <Row label="Old data">
          set aside as <code>{result.setAsideAs}</code>
        </Row>
      )}
    </>
  );
}

function UndoRows({ result }: { readonly result: ResultOf<'undo'> }) {
  return (
    <>
      <Row label="In place again">
        <code>{result.into}</code>, as it was before the restore
      </Row>
      {result.setAsideAs !== null && (
        <Row label="Restored data">
          set aside as <code>{result.setAsideAs}</code>
        </Row>
      )}
      <Row label="Duration">{duration(result.durationMs)}</Row>
    </>
  );
}

function Rows({ result }: { readonly result: JobResult }) {
  switch (result.command) {
    case 'backup':
      return <BackupRows result={result} />;
    case 'verify':
      return <VerifyRows result={result} />;
    case 'rotate':
      return <RotateRows result={result} />;
    case 'restore':
      return <RestoreRows result={result} />;
    case 'plan-undo':
      return result.details.map((detail) => (
        <Row key={detail.label} label={detail.label}>
          <DetailValue detail={detail} />
        </Row>
      ));
    case 'undo':
      return <UndoRows result={result} />;
    case 'hold':
      return <Row label="Held">backup {result.backupId}</Row>;
    case 'copy':
      return result.copies.map(({ repository, copied, presentCount }) => (
        <Row key={repository} label={repository}>
          {copied.length} backups copied, {presentCount} were there already
        </Row>
      ));
    case 'release':
      return <Row label="Released">backup {result.backupId}</Row>;
    case 'list-contents':
      return result.backups.map(({ backupId, count }) => (
        <Row key={backupId} label="Contents">
          {count} in backup {backupId}
        </Row>
      ));
    case 'drop-set-aside':
      return (
        <>
          <Row label="Dropped">
            <code>{result.name}</code>
          </Row>
          {result.freedBytes !== null && <Row label="Freed">{bytes(result.freedBytes)}</Row>}
        </>
      );
    case 'check':
      return <Row label="Check">{result.passed ? 'passed' : 'not passed'}</Row>;
    case 'hook':
      return <Row label="Duration">{duration(result.durationMs)}</Row>;
    case 'plan':
      return null;
  }
}

/** The findings that are shown below a result. */
function findingsOf(result: JobResult) {
  if (result.command === 'restore') return result.warnings;
  if (result.command === 'check') return result.findings;
  return result.command === 'backup' ? result.backup.warnings : [];
}

/** What a finished job found or made. */
export function JobResultPanel({ result }: { readonly result: JobResult }) {
  if (result.command === 'plan') return <PlanView plan={result.plan} />;
  const warnings = findingsOf(result);
  return (
    <section className="panel" aria-labelledby="result">
      <h2 id="result">Result</h2>
      <dl className="facts">
        <Rows result={result} />
      </dl>
      {warnings.length > 0 && <FindingList findings={warnings} />}
      {result.truncated === true && (
        <p className="muted">The result was too long to be sent whole; its counts are complete.</p>
      )}
    </section>
  );
}
