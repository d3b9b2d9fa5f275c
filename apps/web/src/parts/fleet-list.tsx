import { duration } from '@lastgood/core/format';
import { formatFinding, remedyOfFinding } from '@lastgood/protocol';
import { Link } from '@tanstack/react-router';
import { useWindowVirtualizer } from '@tanstack/react-virtual';
import { useLayoutEffect, useRef, useState } from 'react';
import type { FleetRow } from '../data/fleet-row.ts';
import { Ago, Instant } from './instant.tsx';
import { RichText } from './rich-text.tsx';
import { StateMark } from './state-mark.tsx';

const COLUMNS = ['State', 'Target', 'Would be lost now', 'Restore time', 'Last restore test', 'Why, and what to do'];
const ROW_PX = 60;
const PHONE_ROW_PX = 132;
/** Rows that are mounted above and below those on the screen. */
const OVERSCAN = 6;

const isPhone = (): boolean => matchMedia('(max-width: 720px)').matches;

function Exposure({ row }: { readonly row: FleetRow }) {
  if (row.target === null) return <span className="muted">–</span>;
  if (row.exposureMs === null || row.recoveryPointAt === null)
    return (
      <>
        <b className="bad">everything</b>
        <small>no recovery point</small>
      </>
    );
  return (
    <>
      <b>{duration(row.exposureMs)}</b>
      {row.rpoMs !== null && <span className="muted"> of {duration(row.rpoMs)} allowed</span>}
      <small>
        back to <Instant at={row.recoveryPointAt} />
      </small>
    </>
  );
}

function RestoreTime({ row }: { readonly row: FleetRow }) {
  if (row.restoreTime === null) return <span className="muted">not measured</span>;
  return (
    <>
      <b>{duration(row.restoreTime.ms)}</b>
      {row.rtoMs !== null && <span className="muted"> of {duration(row.rtoMs)} allowed</span>}
      <small>{row.restoreTime.isEstimated ? 'estimated' : 'measured'}</small>
    </>
  );
}

function RestoreTest({ row }: { readonly row: FleetRow }) {
  if (row.restoreTest === null) return <span className="warn">never</span>;
  const { at, level, isOfRecoveryPoint } = row.restoreTest;
  return (
    <>
      <b>
        <Ago at={at} />
      </b>
      <small>
        level {level}
        {isOfRecoveryPoint ? '' : ', older backup'}
      </small>
    </>
  );
}

function Reason({ row }: { readonly row: FleetRow }) {
  if (row.reason === null) return <span className="muted">–</span>;
  const remedy = remedyOfFinding(row.reason);
  return (
    <>
      <span className="line" title={formatFinding(row.reason)}>
        <RichText text={formatFinding(row.reason)} />
      </span>
      {remedy !== null && (
        <small className="line" title={remedy}>
          <RichText text={remedy} />
        </small>
      )}
    </>
  );
}

function State({ row }: { readonly row: FleetRow }) {
  return (
    <>
      <StateMark state={row.state} />
      {row.isSilent && <small>as last reported</small>}
    </>
  );
}

function Name({ row: { environment, host, target } }: { readonly row: FleetRow }) {
  if (target === null)
    return (
      <>
        <b>{host}</b>
        <small>{environment}</small>
      </>
    );
  return (
    <>
      <Link to="/targets/$environment/$host/$target" params={{ environment, host, target }} className="row-link">
        {target}
      </Link>
      <small>
        {environment}/{host}
      </small>
    </>
  );
}

/** Rows of a fleet of any size: only those near the screen are mounted. */
export function FleetList({ rows }: { readonly rows: readonly FleetRow[] }) {
  const table = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useLayoutEffect(() => setTop(table.current?.offsetTop ?? 0), []);
  const virtualizer = useWindowVirtualizer({
    count: rows.length,
    estimateSize: () => (isPhone() ? PHONE_ROW_PX : ROW_PX),
    overscan: OVERSCAN,
    scrollMargin: top,
    getItemKey: (index) => rows[index]?.name ?? index,
  });
  const mounted = virtualizer.getVirtualItems();
  const before = Math.max(0, (mounted[0]?.start ?? top) - top);
  const after = Math.max(0, virtualizer.getTotalSize() - ((mounted.at(-1)?.end ?? top) - top));
  return (
    <div className="fleet" role="table" aria-label="Targets, worst first" aria-rowcount={rows.length + 1} ref={table}>
      <div role="row" className="fleet-row fleet-head" aria-rowindex={1}>
        {COLUMNS.map((name) => (
          <span role="columnheader" key={name}>
            {name}
          </span>
        ))}
      </div>
      <div aria-hidden="true" style={{ height: before }} />
      {mounted.map(({ index, key }) => {
        const row = rows[index];
        if (row === undefined) return null;
        const cells = [
          <State key="state" row={row} />,
          <Name key="name" row={row} />,
          <Exposure key="exposure" row={row} />,
          <RestoreTime key="time" row={row} />,
          <RestoreTest key="test" row={row} />,
          <Reason key="reason" row={row} />,
        ];
        return (
          <div
            role="row"
            key={key}
            className={row.isSilent ? 'fleet-row is-silent' : 'fleet-row'}
            aria-rowindex={index + 2}
          >
            {cells.map((cell, column) => (
              <span role="cell" key={COLUMNS[column]} data-label={COLUMNS[column]}>
                {cell}
              </span>
            ))}
          </div>
        );
      })}
      <div aria-hidden="true" style={{ height: after }} />
    </div>
  );
}
