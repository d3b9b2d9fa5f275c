import { newestInstant } from '@lastgood/core';
import { bytes, duration, instant, shortInstant } from '@lastgood/core/format';
import { formatFinding, type TargetView } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { auditDocument, hostDocument } from '../documents.ts';
import { table } from '../format/table.ts';
import { ago, verifiedText } from '../format/times.ts';
import { wholeNumber } from './input.ts';
import { fullName, selectorInput } from './resolve.ts';

const stateText = ({ online, state }: Pick<TargetView, 'online' | 'state'>): string =>
  online ? state : 'host offline';

/** Orders entries by a text, the same way in every locale. */
const byText =
  <T>(textOf: (entry: T) => string) =>
  (a: T, b: T): number =>
    textOf(a) < textOf(b) ? -1 : Number(textOf(a) > textOf(b));

function clockText(skewMs: number | null): string {
  if (skewMs === null) return '-';
  return Math.abs(skewMs) < 1000 ? 'ok' : `${duration(Math.abs(skewMs))} ${skewMs > 0 ? 'ahead' : 'behind'}`;
}

export async function listHosts(context: CommandContext): Promise<number> {
  const hosts = (await (await context.client()).hosts.query({})).toSorted(
    byText(({ environment, host }) => `${environment}/${host}`),
  );
  const rows = hosts.map((host) => [
    `${host.environment}/${host.host}`,
    host.state === 'offline' ? `offline since ${shortInstant(host.since)}` : host.state,
    host.agentVersion ?? '-',
    host.targets.join(', ') || '-',
    clockText(host.clockSkewMs),
  ]);
  context.output.answer({ hosts: hosts.map(hostDocument) }, () =>
    table(
      ['host', 'state', 'agent', 'targets', 'clock'],
      rows,
      'There are no hosts. Enroll one with `lastgood tokens enroll`.',
    ),
  );
  return 0;
}

/** An open window reaches as far as the stream has stored since. */
function windowEnd(target: TargetView, to: string): string {
  const newest = newestInstant(target);
  return newest === null ? to : new Date(Math.max(newest.atMs, Date.parse(to))).toISOString();
}

/** The newest instant that can be restored: of the log stream, or of the newest good backup. */
function recoveryPointText(target: TargetView): string {
  const stream = newestInstant(target)?.atMs ?? Number.NEGATIVE_INFINITY;
  const backup = target.lastGood === null ? Number.NEGATIVE_INFINITY : Date.parse(target.lastGood.recoveryPoint);
  const newest = Math.max(stream, backup);
  return Number.isFinite(newest) ? ago(new Date(newest).toISOString()) : 'none';
}

export async function listTargets(context: CommandContext, selector: string | undefined): Promise<number> {
  const targets = (await (await context.client()).targets.query(selectorInput(selector))).toSorted(byText(fullName));
  const rows = targets.map((target) => [
    fullName(target),
    `${target.engine} ${target.version ?? ''}`.trim(),
    stateText(target),
    target.databases.map((database) => database.name).join(', ') || '-',
    target.sizeBytes === null ? '-' : bytes(target.sizeBytes),
    recoveryPointText(target),
    target.lastTested === null ? 'never' : verifiedText(target.lastTested.verified),
  ]);
  const windows = targets.flatMap((target) =>
    (target.windows ?? []).map(
      ({ from, to, isOpen }) =>
        `${fullName(target)}: any instant from ${instant(from)} to ${instant(isOpen ? windowEnd(target, to) : to)}`,
    ),
  );
  const findings = targets.flatMap((target) =>
    target.findings.map((finding) => `${fullName(target)}: ${formatFinding(finding)}`),
  );
  context.output.answer({ targets }, () => [
    ...table(
      ['target', 'engine', 'state', 'databases', 'size', 'recovery point', 'last restore test'],
      rows,
      'There are no targets.',
    ),
    ...windows,
    ...findings,
  ]);
  return 0;
}

export async function listAudit(context: CommandContext, options: { limit: string }): Promise<number> {
  const entries = await (await context.client()).audit.query({ limit: wholeNumber('--limit', options.limit, 1, 1000) });
  const rows = entries.map(({ at, actor, action, subject, detail }) => [
    shortInstant(at),
    actor,
    action,
    subject,
    detail,
  ]);
  context.output.answer({ entries: entries.map(auditDocument) }, () =>
    table(['at', 'by', 'action', 'subject', 'detail'], rows, 'There are no records.'),
  );
  return 0;
}
