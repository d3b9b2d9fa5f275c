import type { EvidenceDocument } from '@lastgood/protocol';
import { duration } from '../format/index.ts';

const escapeHtml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
const row = (cells: readonly string[], tag = 'td'): string =>
  `<tr>${cells.map((cell) => `<${tag}>${escapeHtml(cell)}</${tag}>`).join('')}</tr>`;
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  `<table><thead>${row(head, 'th')}</thead><tbody>${rows.map((cells) => row(cells)).join('\n')}</tbody></table>`;
const time = (ms: number | null): string => (ms === null ? '' : duration(ms));

const STYLE = `body{font:14px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#111;background:#fff}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.5rem 0 .5rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;vertical-align:top;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ccc}code{word-break:break-all}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:1rem 0}dt{color:#555}dd{margin:0}
td:first-child{white-space:nowrap}tr{break-inside:avoid}h2{break-after:avoid}@page{margin:18mm}@media print{body{margin:0;max-width:none;font-size:11px}}`;

function objectiveText({ objective: { rtoMs, met } }: EvidenceDocument): string {
  if (rtoMs === null) return 'none';
  return `${duration(rtoMs)}${met === null ? '' : met ? ', met' : ', NOT met'}`;
}

/** What a job of a step has reached. */
function reachedText({ jobs }: EvidenceDocument['steps'][number]): string {
  const last = jobs.findLast(({ reached, level }) => reached !== null || level !== null);
  if (last === undefined) return '';
  return last.reached === null ? `restore-tested at level ${last.level}` : `restored to ${last.reached}`;
}

function facts(document: EvidenceDocument, sha256: string): readonly (readonly [string, string])[] {
  const { mode, runbook, state, startedBy, startedAt, endedAt, durationMs, recoverySet, planHash, previous } = document;
  const accepted = recoverySet.acceptedSkew.length === 0 ? '' : `, accepted for ${recoverySet.acceptedSkew.join(', ')}`;
  return [
    ['Runbook', `${runbook} (${mode})`],
    ['Result', state],
    ['Started', `${startedAt} by ${startedBy}`],
    ['Ended', endedAt],
    ['Time', duration(durationMs)],
    ['Objective (RTO)', objectiveText(document)],
    [
      'Recovery set',
      `${recoverySet.instant ?? 'the newest of each target'}; skew ${duration(recoverySet.skewMs)}${accepted}`,
    ],
    ['Plan', planHash],
    ['SHA-256 of the report', sha256],
    ['SHA-256 of the one before', previous ?? 'none: this is the first'],
  ];
}

/** The report as one page without scripts and without anything from elsewhere: it opens offline and prints. */
export function evidenceHtml(document: EvidenceDocument, sha256: string): string {
  const { sequence, runbook, mode, planHash, recoverySet, steps, events, contacts } = document;
  const title = `Evidence ${sequence}: ${mode} of runbook ${runbook}`;
  const points = recoverySet.points.map(({ target, at, basis, backupId }) => [target, at, basis, backupId ?? '']);
  const checklist = steps.map((step) => [
    step.name,
    step.title,
    step.state,
    time(step.durationMs),
    [reachedText(step), step.by === null ? '' : `by ${step.by}`, step.reason ?? ''].filter(Boolean).join('; '),
  ]);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<dl>${facts(document, sha256)
    .map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd><code>${escapeHtml(value)}</code></dd>`)
    .join('\n')}</dl>
<h2>Steps</h2>
${table(['Step', 'What', 'State', 'Time', 'Remark'], checklist)}
<h2>Recovery points</h2>
${table(['Target', 'Goes back to', 'From', 'Backup'], points)}
<h2>Who did what when</h2>
${table(
  ['When', 'Step', 'What', 'Who', 'Detail'],
  events.map(({ at, step, what, by, detail }) => [
    at,
    step ?? '',
    what,
    by ?? '',
    detail === planHash ? 'this plan' : (detail ?? ''),
  ]),
)}
<h2>Contacts</h2>
${table(
  ['Contact', 'E-mail'],
  contacts.map(({ name, email }) => [name, email.join(', ')]),
)}
</body></html>
`;
}
