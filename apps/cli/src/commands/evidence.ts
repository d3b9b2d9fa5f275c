import { createHash } from 'node:crypto';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Failure } from '@lastgood/core';
import { evidenceHtml } from '@lastgood/core/evidence';
import { shortInstant } from '@lastgood/core/format';
import { EXIT_STATUS, evidenceDocumentSchema, type StoredEvidence } from '@lastgood/protocol';
import type { CommandContext } from '../command-context.ts';
import { shortId } from '../format/ids.ts';
import { table } from '../format/table.ts';

const MAX_REPORTS = 1000;

export async function listEvidence(context: CommandContext): Promise<number> {
  const list = await (await context.client()).evidence.query({ limit: MAX_REPORTS });
  const rows = list.map(({ sequence, mode, runbook, state, endedAt, runId, sha256 }) => [
    String(sequence),
    `${mode} of ${runbook}`,
    state,
    shortInstant(endedAt),
    shortId(runId),
    sha256.slice(0, 16),
  ]);
  const documents = list.map((each) => ({ ...each, endedAt: new Date(each.endedAt).toISOString() }));
  context.output.answer({ evidence: documents }, () =>
    table(['number', 'what', 'state', 'ended', 'run', 'sha-256'], rows, 'No run or drill has ended yet.'),
  );
  return EXIT_STATUS.done.status;
}

/** An empty folder: what an auditor gets must be what was exported, and nothing beside it. */
async function makeEmptyFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    if ((await readdir(folder)).length === 0) return;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Failure('BAD_INPUT', `cannot use the folder ${folder} (${code})`, { cause: error });
  }
  throw new Failure('BAD_INPUT', `the folder ${folder} is not empty`, { remedy: 'Name a new folder with --to.' });
}

interface ExportedFile {
  readonly name: string;
  readonly content: string | Buffer;
}
const keyName = ({ publicKey }: StoredEvidence): string =>
  `key-${createHash('sha256').update(publicKey).digest('hex').slice(0, 8)}.pem`;

function filesOf(stored: StoredEvidence): ExportedFile[] {
  const { sequence, mode, runbook, text, sha256, signature, publicKey } = stored;
  const base = `${String(sequence).padStart(4, '0')}-${mode}-${runbook}`;
  const document = evidenceDocumentSchema.parse(JSON.parse(text));
  return [
    { name: `${base}.json`, content: text },
    { name: `${base}.json.sig`, content: Buffer.from(signature, 'base64') },
    { name: `${base}.html`, content: evidenceHtml(document, sha256) },
    { name: keyName(stored), content: publicKey },
  ];
}

/** The script that an auditor reads and runs: every signature and every link of the chain, by openssl and sha256sum alone. */
function verifyScript(all: readonly StoredEvidence[]): string {
  const name = ({ sequence, mode, runbook }: StoredEvidence): string =>
    `${String(sequence).padStart(4, '0')}-${mode}-${runbook}.json`;
  const links = all.slice(1).map((stored, index) => {
    const before = all[index];
    return before === undefined || before.sequence + 1 !== stored.sequence
      ? `echo "the report before ${name(stored)} is not in this folder"; failed=1`
      : `link ${name(before)} ${name(stored)}`;
  });
  return `#!/bin/sh
# Checks this folder with sha256sum and openssl (3.0 and above) alone. Exit status 0: nothing was changed.
cd "$(dirname "$0")" || exit 2
failed=0
sha256sum --quiet -c SHA256SUMS || failed=1
signed() { openssl pkeyutl -verify -pubin -inkey "$2" -rawin -in "$1" -sigfile "$1.sig" >/dev/null || { echo "$1: the signature does not match"; failed=1; }; }
link() { grep -q "\\"previous\\": \\"$(sha256sum "$1" | cut -c1-64)\\"" "$2" || { echo "$2 does not follow $1"; failed=1; }; }
${all.map((stored) => `signed ${name(stored)} ${keyName(stored)}`).join('\n')}
${links.join('\n')}
[ "$failed" = 0 ] && echo "${all.length} reports are unchanged"
exit "$failed"
`;
}

/** Writes all reports into a folder that an auditor can check without Lastgood. */
export async function exportEvidence(context: CommandContext, { to }: { to: string }): Promise<number> {
  const client = await context.client();
  const list = (await client.evidence.query({ limit: MAX_REPORTS })).toReversed();
  if (list.length === 0)
    throw new Failure('NOT_FOUND', 'no run or drill has ended yet', {
      remedy: 'Drill a runbook first: `lastgood runbooks drill`.',
    });
  const all: StoredEvidence[] = [];
  for (const { sequence } of list) all.push(await client.evidenceReport.query({ sequence }));
  await makeEmptyFolder(to);
  const files = new Map(all.flatMap(filesOf).map(({ name, content }) => [name, content]));
  files.set('verify.sh', verifyScript(all));
  const sums = [...files]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, content]) => `${createHash('sha256').update(content).digest('hex')}  ${name}\n`);
  files.set('SHA256SUMS', sums.join(''));
  for (const [name, content] of files)
    await writeFile(join(to, name), content, { mode: name === 'verify.sh' ? 0o755 : 0o644, flag: 'wx' });
  context.output.answer({ folder: to, reports: all.length }, () => [
    `${all.length} reports are in ${to}; check them with: sh ${join(to, 'verify.sh')}`,
  ]);
  return EXIT_STATUS.done.status;
}
