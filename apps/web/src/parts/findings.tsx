import { type Finding, findingKey, formatFinding, remedyOfFinding, type TargetStatus } from '@lastgood/protocol';
import { RichText } from './rich-text.tsx';

/** The findings of a target, the reasons for its state first. Databases that have the same reason share an entry. */
function findingsOf({ reasons, databases, findings }: TargetStatus): Finding[] {
  const all = [...reasons, ...databases.flatMap((database) => database.reasons), ...findings];
  return [...new Map(all.map((finding) => [findingKey(finding), finding])).values()];
}

export function FindingList({ findings }: { readonly findings: readonly Finding[] }) {
  return (
    <ul className="findings">
      {findings.map((finding) => {
        const remedy = remedyOfFinding(finding);
        return (
          <li key={findingKey(finding)} className={`finding severity-${finding.severity}`}>
            <span className="severity">{finding.severity}</span>
            <div>
              <RichText text={formatFinding(finding)} />
              {remedy !== null && (
                <p className="remedy">
                  <RichText text={remedy} />
                </p>
              )}
            </div>
            <code>{finding.code}</code>
          </li>
        );
      })}
    </ul>
  );
}

export function Findings({ status }: { readonly status: TargetStatus }) {
  const findings = findingsOf(status);
  if (findings.length === 0) return null;
  return (
    <section aria-labelledby="findings">
      <h2 id="findings">Findings</h2>
      <FindingList findings={findings} />
    </section>
  );
}
