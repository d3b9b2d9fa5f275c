/** A value of a message. What a person reads is made of these by a template, where it is shown. */
export type MessageValue = string | number | boolean | readonly string[];
export type MessageParams = Readonly<Record<string, MessageValue>>;

/** How a value is written, by the hint behind its name: `{rows:count}`. Without a hint it is a text, written as it is. */
interface HintTypes {
  /** A text in double quotes. */
  readonly quoted: string;
  /** Names, the first ten of them. */
  readonly list: readonly string[];
  readonly count: number;
  readonly bytes: number;
}
type ValueOf<Hint extends string> = Hint extends keyof HintTypes ? HintTypes[Hint] : never;
type ParamOf<Placeholder extends string> = Placeholder extends `${infer Name}:${infer Hint}`
  ? { readonly [K in Name]: ValueOf<Hint> }
  : { readonly [K in Placeholder]: string };

/** The values that a template needs, from the text of the template; `{subject}` is not one of them. */
export type ParamsOf<Template extends string> = Template extends `${string}{${infer Placeholder}}${infer Rest}`
  ? (Placeholder extends 'subject' ? unknown : ParamOf<Placeholder>) & ParamsOf<Rest>
  : unknown;

const MAX_LISTED = 10;
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];

function bytesText(bytes: number): string {
  let [value, unit] = [bytes, 0];
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toPrecision(3)} ${UNITS[unit]}`;
}

function listText(names: readonly string[]): string {
  const more = names.length - MAX_LISTED;
  return more > 0 ? `${names.slice(0, MAX_LISTED).join(', ')} and ${more} more` : names.join(', ');
}

function valueText(value: MessageValue | undefined, hint: string | undefined): string {
  if (value === undefined) return '?';
  if (typeof value === 'string') return hint === 'quoted' ? `"${value}"` : value;
  if (typeof value === 'number' && hint === 'bytes') return bytesText(value);
  return typeof value === 'object' ? listText(value) : String(value);
}

/** Fills a template. A value that is missing is shown as "?": data from another version must not break a message. */
export function fillTemplate(template: string, params: MessageParams): string {
  return template.replace(/\{(\w+)(?::(\w+))?\}/g, (_, name: string, hint?: string) =>
    valueText(Object.hasOwn(params, name) ? params[name] : undefined, hint),
  );
}
