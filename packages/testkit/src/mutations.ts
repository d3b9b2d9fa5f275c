type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const nested = (depth: number): Json => {
  let value: Json = null;
  for (let level = 0; level < depth; level += 1) value = { a: value };
  return value;
};

/** What a hostile peer may send in place of any value. */
const HOSTILE_VALUES: readonly Json[] = [
  ...[null, true, -1, 0.5, 2 ** 31 - 1, 2 ** 53 - 1, 1e300, -1e300],
  ...['', 'x', '\0', '__proto__', 'x'.repeat(70_000)],
  ...[[], {}, [[]], nested(3_000), Array.from({ length: 3_000 }, () => ({}))],
];

/** One message in which one value is hostile or missing. `what` names the place and the value. */
export interface Mutation {
  readonly what: string;
  readonly value: Json;
}

const nameOf = (value: Json): string => JSON.stringify(value).slice(0, 40);

function* mutationsIn(value: Json, path: string): Generator<Mutation> {
  for (const hostile of HOSTILE_VALUES) yield { what: `${path} = ${nameOf(hostile)}`, value: hostile };
  if (Array.isArray(value)) {
    const items: readonly Json[] = value;
    for (const [index, item] of items.slice(0, 1).entries())
      for (const inner of mutationsIn(item, `${path}[${index}]`))
        yield { what: inner.what, value: items.map((each, at) => (at === index ? inner.value : each)) };
  } else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      const rest = Object.fromEntries(Object.entries(value).filter(([other]) => other !== key));
      yield { what: `${path}.${key} is missing`, value: rest };
      for (const inner of mutationsIn(item, `${path}.${key}`))
        yield { what: inner.what, value: { ...value, [key]: inner.value } };
    }
  }
}

/** The message with every one of its values in turn replaced by each hostile value, or left out. Of a list the first item is changed. */
export function mutationsOf(message: unknown): Mutation[] {
  return [...mutationsIn(JSON.parse(JSON.stringify(message)) as Json, 'message')];
}
