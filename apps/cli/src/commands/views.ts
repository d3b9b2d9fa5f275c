import { formatFinding, type TargetView } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { auditDocument, hostDocument } from '../documents.ts';
import { table } from '../format/table.ts';
import { ago, verifiedText } from '../format/times.ts';
import { bytes, duration, shortInstant } from '../format/units.ts';
import { wholeNumber } from './input.ts';
import { fullName, selectorInput } from './resolve.ts';

const stateText = ({ online, state }: Pick<TargetView, 'online' | 'state'>): string =>
  online ? state : 'host offline';

function clockText(skewMs: number | null): string {
  if (skewMs === null) return '-';
  return Math.abs(skewMs) < 1000 ? 'ok' : `${duration(Math.abs(skewMs))} ${skewMs > 0 ? 'ahead' : 'behind'}`;
}

export async function listHosts(context: CommandContext): Promise<number> {
  const hosts = await (await context.client()).hosts.query({});
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

export async function listTargets(context: CommandContext, selector: string | undefined): Promise<number> {
  const targets = await (await context.client()).targets.query(selectorInput(selector));
  const rows = targets.map((target) => [
    fullName(target),
    `${target.engine} ${target.version ?? ''}`.trim(),
    stateText(target),
    target.databases.map((database) => database.name).join(', ') || '-',
    target.sizeBytes === null ? '-' : bytes(target.sizeBytes),
    target.lastGood === null ? 'none' : ago(target.lastGood.recoveryPoint),
    target.lastTested === null ? 'never' : verifiedText(target.lastTested.verified),
  ]);
  const findings = targets.flatMap((target) =>
    target.findings.map((finding) => `${fullName(target)}: ${formatFinding(finding)}`),
  );
  context.output.answer({ targets }, () => [
    ...table(
      ['target', 'engine', 'state', 'databases', 'size', 'recovery point', 'last restore test'],
      rows,
      'There are no targets.',
    ),
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
