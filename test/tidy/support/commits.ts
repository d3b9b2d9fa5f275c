const LONGEST = 72;
const SUBJECT = /^[a-z0-9/ .,-]+: [a-z]/;

export interface Commit {
  readonly hash: string;
  readonly subject: string;
}

/** Commits whose subject does not read `area: imperative summary`, or is too long. */
export const findBadSubjects = (commits: readonly Commit[]): string[] =>
  commits.flatMap(({ hash, subject }) => {
    if (!SUBJECT.test(subject)) return [`${hash} "${subject}" does not read "area: imperative summary"`];
    return subject.length > LONGEST ? [`${hash} "${subject}" has ${subject.length} characters, not ${LONGEST}`] : [];
  });
