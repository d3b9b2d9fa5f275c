import { readFile } from 'node:fs/promises';
import { Failure } from '@lastgood/core';
import { shortInstant } from '@lastgood/core/format';
import { type AlertView, type FleetDiffView, type OccurrenceView, occurrenceStateSchema } from '@lastgood/protocol';
import type { AdminClient } from '../client.ts';
import type { CommandContext } from '../command-context.ts';
import { shortId } from '../format/ids.ts';
import { table } from '../format/table.ts';
import { wholeNumber } from './input.ts';

/** A check found something, as `diff` does when two files differ. */
const EXIT_FOUND = 4;
const MAX_LIMIT = 1000;
const iso = (at: number): string => new Date(at).toISOString();
const isoOrNull = (at: number | null): string | null => (at === null ? null : iso(at));

async function readFleetFile(file: string): Promise<string> {
  return await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Failure('CONFIG_INVALID', `cannot read the fleet file ${file}: ${error.code}`, {
      remedy: 'Name a readable file with -f.',
    });
  });
}

const text = (value: unknown): string =>
  value === null ? '-' : typeof value === 'string' ? value : JSON.stringify(value);

function diffLines(diff: FleetDiffView): string[] {
  const rows = diff.changes.map(({ kind, path, before, after, loss }) => [
    kind,
    path.join('.'),
    text(before),
    text(after),
    loss ?? '',
  ]);
  const unprotected = diff.unprotected.map((target) => `${target} has no policy any more`);
  return [...table(['change', 'path', 'before', 'after', 'loss'], rows, 'No differences.'), ...unprotected];
}
function noteWarnings({ output }: CommandContext, file: string, { warnings }: FleetDiffView): void {
  for (const { line, column, path, message } of warnings)
    output.note(`warning ${[`${file}:${line}:${column}`, path, message].filter(Boolean).join(' ')}`);
}

export async function diffFleet(context: CommandContext, { file }: { file: string }): Promise<number> {
  const diff = await (await context.client()).fleetDiff.mutate({ text: await readFleetFile(file), file });
  noteWarnings(context, file, diff);
  context.output.answer(diff, () => diffLines(diff));
  return diff.changes.length > 0 ? EXIT_FOUND : 0;
}

export async function applyFleet(
  context: CommandContext,
  { file, acceptLoss = false }: { file: string; acceptLoss?: boolean },
): Promise<number> {
  const input = { text: await readFleetFile(file), file, acceptLoss };
  const diff = await (await context.client()).applyFleet.mutate(input);
  noteWarnings(context, file, diff);
  context.output.answer(diff, () => [...diffLines(diff), `Revision ${diff.revision} is in force.`]);
  return 0;
}

export async function exportFleet(context: CommandContext): Promise<number> {
  const { revision, text: yaml } = await (await context.client()).exportFleet.query({});
  context.output.answer({ revision, text: yaml }, () => yaml.trimEnd().split('\n'));
  return 0;
}

export interface OccurrenceOptions {
  readonly limit: string;
  readonly state?: readonly string[];
}
const occurrenceDocument = (occurrence: OccurrenceView): object => ({ ...occurrence, dueAt: iso(occurrence.dueAt) });

export async function listOccurrences(
  context: CommandContext,
  target: string | undefined,
  { limit, state = [] }: OccurrenceOptions,
): Promise<number> {
  const states = state.map((name) => {
    const parsed = occurrenceStateSchema.safeParse(name);
    if (!parsed.success)
      throw new Failure('BAD_INPUT', `--state is one of ${occurrenceStateSchema.options.join(', ')}, not "${name}"`);
    return parsed.data;
  });
  const list = await (await context.client()).occurrences.query({
    ...(target === undefined ? {} : { target }),
    ...(states.length === 0 ? {} : { states }),
    limit: wholeNumber('--limit', limit, 1, MAX_LIMIT),
  });
  const rows = list.map(({ dueAt, environment, host, target: name, schedule, state: now, code, occurrenceId }) => [
    shortInstant(dueAt),
    `${environment}/${host}/${name}`,
    schedule,
    code === null ? now : `${now} (${code})`,
    shortId(occurrenceId),
  ]);
  context.output.answer({ occurrences: list.map(occurrenceDocument) }, () =>
    table(['due', 'target', 'schedule', 'state', 'job'], rows, 'There are no occurrences.'),
  );
  return 0;
}

const alertDocument = (alert: AlertView): object => ({
  ...alert,
  openedAt: iso(alert.openedAt),
  firedAt: isoOrNull(alert.firedAt),
  acknowledged: alert.acknowledged === null ? null : { ...alert.acknowledged, at: iso(alert.acknowledged.at) },
  resolvedAt: isoOrNull(alert.resolvedAt),
});

export async function listAlerts(
  context: CommandContext,
  { limit, all = false }: { limit: string; all?: boolean },
): Promise<number> {
  const input = { all, limit: wholeNumber('--limit', limit, 1, MAX_LIMIT) };
  const list = await (await context.client()).alerts.query(input);
  const rows = list.map(({ alertId, severity, state, code, text: what, openedAt, acknowledged }) => [
    shortId(alertId),
    severity,
    acknowledged === null || state !== 'acknowledged' ? state : `${state} by ${acknowledged.by}`,
    code,
    what,
    shortInstant(openedAt),
  ]);
  context.output.answer({ alerts: list.map(alertDocument) }, () =>
    table(['alert', 'severity', 'state', 'code', 'what', 'since'], rows, 'There are no alerts.'),
  );
  return 0;
}

/** The open alert that a part of an id names. */
async function alertIdOf(client: AdminClient, part: string): Promise<string> {
  const open = await client.alerts.query({ limit: MAX_LIMIT });
  const [only, ...others] = open.filter(({ alertId }) => alertId.startsWith(part) || alertId.endsWith(part));
  if (part.length < 4 || others.length > 0) throw new Failure('BAD_INPUT', `"${part}" names no single alert`);
  if (only === undefined)
    throw new Failure('NOT_FOUND', `there is no open alert ${part}`, {
      remedy: 'List the open alerts with `lastgood alerts list`.',
    });
  return only.alertId;
}

export async function acknowledgeAlert(
  context: CommandContext,
  id: string,
  { note }: { note?: string },
): Promise<number> {
  const client = await context.client();
  const alert = await client.acknowledgeAlert.mutate({ alertId: await alertIdOf(client, id), note: note ?? null });
  context.output.answer({ alert: alertDocument(alert) }, () => [`${alert.code} of ${alert.subject} is ${alert.state}`]);
  return 0;
}
