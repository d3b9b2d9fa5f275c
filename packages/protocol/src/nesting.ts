/** No message is nested deeper. Validation follows the nesting with its call stack. */
const MAX_DEPTH = 64;

/** True if a JSON value is nested deeper than any message. */
export function isTooDeep(value: unknown): boolean {
  let level: unknown[] = [value];
  for (let depth = 0; depth <= MAX_DEPTH; depth += 1) {
    level = level.flatMap((each) => (typeof each === 'object' && each !== null ? Object.values(each) : []));
    if (level.length === 0) return false;
  }
  return true;
}
