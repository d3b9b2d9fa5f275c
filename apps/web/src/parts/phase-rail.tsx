import { useEffect, useState } from 'react';

const NAMES: Readonly<Record<string, string>> = {
  snapshot: 'taking the snapshot',
  dump: 'reading the data',
  'read-back': 'reading back what was stored',
  fingerprint: 'counting rows and digests',
  globals: 'saving roles and settings',
  reread: 'reading the stored bytes again',
  decode: 'decoding',
  read: 'reading the backup',
  restore: 'restoring',
  replay: 'replaying the log',
  views: 'refreshing views',
  check: 'checking',
  compare: 'comparing with the source',
};

/** A phase in words; that of a newer agent as it is. */
export const phaseName = (phase: string): string => NAMES[phase] ?? phase;

/** The phases that this page has seen of a job, the current one last. */
export function PhaseRail({ phase }: { readonly phase: string | null }) {
  const [seen, setSeen] = useState<readonly string[]>([]);
  useEffect(() => {
    if (phase !== null) setSeen((before) => [...before.filter((each) => each !== phase), phase]);
  }, [phase]);
  if (seen.length < 2) return null;
  return (
    <ol className="rail" aria-label="Phases">
      {seen.map((each) => (
        <li key={each} aria-current={each === phase ? 'step' : undefined}>
          {phaseName(each)}
        </li>
      ))}
    </ol>
  );
}
