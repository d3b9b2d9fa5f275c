/** One test case of a JUnit report: what was checked, and what was found. */
export interface JunitCase {
  readonly suite: string;
  readonly name: string;
  /** One line for each problem; none for a case that passed. */
  readonly problems: readonly string[];
}

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

/** XML 1.0 has no way to write most control characters, so they become the replacement character. */
const escapeXml = (text: string): string =>
  text.replace(/[\p{Cc}\p{Cs}\uFFFE\uFFFF]/gu, '\uFFFD').replace(/[&<>"]/g, (letter) => ENTITIES[letter] ?? letter);

function caseLines({ suite, name, problems }: JunitCase): string[] {
  const opening = `    <testcase classname="${escapeXml(suite)}" name="${escapeXml(name)}"`;
  const [first] = problems;
  if (first === undefined) return [`${opening}/>`];
  return [
    `${opening}>`,
    `      <failure message="${escapeXml(first)}">${escapeXml(problems.join(' · '))}</failure>`,
    '    </testcase>',
  ];
}

/** A JUnit report, as continuous integration servers read it: one suite per environment. */
export function junitLines(title: string, cases: readonly JunitCase[]): string[] {
  const failures = (of: readonly JunitCase[]): number => of.filter(({ problems }) => problems.length > 0).length;
  const suites = [...Map.groupBy(cases, ({ suite }) => suite)].flatMap(([suite, members]) => [
    `  <testsuite name="${escapeXml(suite)}" tests="${members.length}" failures="${failures(members)}">`,
    ...members.flatMap(caseLines),
    '  </testsuite>',
  ]);
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="${escapeXml(title)}" tests="${cases.length}" failures="${failures(cases)}">`,
    ...suites,
    '</testsuites>',
  ];
}
