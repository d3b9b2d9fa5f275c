import { type BackupSummary, type FindingCode, makeFinding } from '@lastgood/protocol';

const MANIFEST_CHANGED: FindingCode = 'MANIFEST_CHANGED';
const isMarked = ({ warnings }: BackupSummary): boolean => warnings.some(({ code }) => code === MANIFEST_CHANGED);

/**
 * What the catalog keeps of a backup that is announced again. A manifest is written once; one with another hash was edited, or
 * put in the place of the first (B12). Nothing that it says is believed: the first hash and all that was known with it stay,
 * and the backup is bad until its own manifest is back.
 */
export function reconcileBackup(known: BackupSummary | undefined, told: BackupSummary): BackupSummary {
  if (known === undefined) return told;
  const mark = makeFinding(MANIFEST_CHANGED, { kind: 'backup', name: known.backupId });
  const marked = isMarked(known) ? known : { ...known, warnings: [...known.warnings, mark] };
  if (told.manifestSha256 !== known.manifestSha256) return { ...marked, state: 'bad' };
  // A verdict on what is there now, which the catalog itself has added to what it knows, does not make it the first again.
  const unmended = isMarked(told) && told.state !== 'missing';
  return unmended ? { ...told, state: 'bad' } : told;
}
