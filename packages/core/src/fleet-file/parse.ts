import { type LocatedProblem, problemsOfIssues, YamlText } from '../config-file/yaml-text.ts';
import { describeFleetProblem, type FleetProblem } from './problems.ts';
import { type FleetFile, fleetFileSchema } from './schema.ts';
import { type FleetFacts, validateFleetFile } from './validate.ts';

export interface ParsedFleetFile {
  /** Null when anything is an error. */
  readonly file: FleetFile | null;
  readonly errors: readonly LocatedProblem[];
  readonly warnings: readonly LocatedProblem[];
  /** The checks behind the errors and warnings, with their codes; without those of the schema. */
  readonly problems: readonly FleetProblem[];
}

type Content = Record<string, Record<string, unknown>>;
const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * The content without what its schema refuses, so that the rest of the file can be checked at once. A refused entry is removed as a
 * whole: `policies.critical`, not its one bad key.
 */
function withoutRefused(content: unknown, refused: readonly (readonly PropertyKey[])[]): Content {
  const copy: Content = {};
  for (const [section, entries] of Object.entries(isRecord(content) ? content : {}))
    if (Object.hasOwn(fleetFileSchema.shape, section) && isRecord(entries)) copy[section] = { ...entries };
  for (const [section, name] of refused.map((path) => path.map(String)))
    if (section !== undefined && name !== undefined) delete copy[section]?.[name];
  return copy;
}

/** Names of entries that exist in the text although their content is refused: references to them are no second problem. */
function isKnownInText(content: unknown, { detail }: FleetProblem): boolean {
  const has = (section: string, name: string): boolean => {
    const entries = isRecord(content) ? content[section] : undefined;
    return isRecord(entries) && Object.hasOwn(entries, name);
  };
  switch (detail.code) {
    case 'contact_unknown':
      return has('contacts', detail.name);
    case 'environment_unknown':
      return has('environments', detail.name);
    // What a refused policy would add is not known.
    case 'rpo_unreachable':
    case 'rpo_tight':
    case 'rotation_not_scheduled':
    case 'rotate_without_retention':
    case 'target_unprotected':
      return true;
    default:
      return false;
  }
}

/** Reads a fleet file. Reports every problem of the text at once, with its place. */
export function parseFleetFile(text: string, facts: FleetFacts): ParsedFleetFile {
  const yaml = new YamlText(text);
  if (yaml.problems.length > 0) return { file: null, errors: yaml.problems, warnings: [], problems: [] };
  // An empty file is an empty fleet.
  const content: unknown = yaml.content ?? {};
  const parsed = fleetFileSchema.safeParse(content);
  const refused = problemsOfIssues(parsed.error?.issues ?? []);
  const rest = parsed.success
    ? parsed
    : fleetFileSchema.safeParse(
        withoutRefused(
          content,
          refused.map(({ path }) => path),
        ),
      );
  const problems = (rest.success ? validateFleetFile(rest.data, facts) : []).filter(
    (each) => parsed.success || !isKnownInText(content, each),
  );
  const located = (severity: FleetProblem['severity']): LocatedProblem[] =>
    problems
      .filter((each) => each.severity === severity)
      .map((each) => yaml.locate({ path: each.path, message: describeFleetProblem(each) }));
  const errors = [...refused.map((each) => yaml.locate(each)), ...located('error')];
  return {
    file: parsed.success && errors.length === 0 ? parsed.data : null,
    errors,
    warnings: located('warning'),
    problems,
  };
}
