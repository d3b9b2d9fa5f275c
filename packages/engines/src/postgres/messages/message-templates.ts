/** An object of the catalogs that an error names: `{kind: 'table', name: 'public.orders'}`. */
export interface NamedObject {
  readonly kind: string;
  readonly name: string;
}

/**
 * Messages of PostgreSQL's own code in English, by their whole text or by their beginning. A capture called `a` or `b` is the name
 * of an object in the catalogs, of the kind that `kinds` gives; a capture called `kind` is that kind. No other part of a message
 * is ever read: what is quoted elsewhere may be a row.
 */
interface Template {
  readonly pattern: RegExp;
  readonly sqlstate: string;
  readonly kinds?: readonly [a: string, b?: string];
  readonly lacks?: boolean;
}
export interface KnownMessage {
  readonly sqlstate: string;
  readonly objects: readonly NamedObject[];
  readonly lacks: boolean;
}

const KIND =
  '(?<kind>access method|aggregate|collation|column|conversion|database|domain|event trigger|extension|foreign table|foreign server|foreign-data wrapper|function|index|language|large object|materialized view|operator class|operator family|operator|parameter|policy|procedure|publication|relation|role|routine|rule|schema|sequence|server|statistics object|subscription|table|tablespace|text search configuration|text search dictionary|trigger|type|user mapping|view)';
const A = '"(?<a>[^"]+)"';
const B = '"(?<b>[^"]+)"';

const of = (sqlstate: string, pattern: string, ...kinds: [] | [string] | [string, string]): Template => ({
  sqlstate,
  pattern: new RegExp(`^${pattern}$`, 's'),
  ...(kinds[0] === undefined ? {} : { kinds: [kinds[0], kinds[1]] as [string, string?] }),
});
const lacking = (sqlstate: string, pattern: string, kind?: string): Template => ({
  ...of(sqlstate, pattern, ...(kind === undefined ? ([] as []) : ([kind] as [string]))),
  lacks: true,
});
/** The end of a message that may quote a value. */
const REST = '.*';

const TEMPLATES: readonly Template[] = [
  // Rights.
  of('42501', `permission denied for ${KIND} (?<a>.+)`),
  of('42501', `permission denied to [a-z ]+ ${A}`, 'object'),
  of('42501', 'permission denied to [a-z ]+'),
  of('42501', `must be owner of ${KIND} (?<a>.+)`),
  of('42501', `must be (?:a )?superuser${REST}`),
  of('42501', `query would be affected by row-level security policy for table ${A}`, 'table'),
  of('42501', `must be (?:a )?member of role ${A}`, 'role'),
  of('42501', `must be able to SET ROLE ${A}`, 'role'),
  // What is missing or there already.
  lacking('0A000', `extension ${A} is not available`, 'extension'),
  lacking('58P01', `could not open extension control file${REST}`),
  lacking('58P01', `could not (?:access|load) (?:file|library)${REST}`),
  lacking('55000', `\\S+ (?:must|can only) be (?:pre)?loaded${REST}`),
  lacking('55000', `extension ${A} must be preloaded`, 'extension'),
  lacking('22023', `security label provider ${A} is not loaded`, 'security label provider'),
  lacking('0A000', `.*\\bnot supported (?:by|in) this build${REST}`),
  lacking('0A000', `.*\\brequires the server to be built with${REST}`),
  lacking('22023', `could not create locale${REST}`),
  lacking('42809', `invalid (?:LC_[A-Z]+ )?locale name: ${A}`, 'locale'),
  lacking('22023', `could not open collator${REST}`),
  of('42P01', `relation ${A} does not exist`, 'relation'),
  of('42703', `column ${A} of relation ${B} does not exist`, 'column', 'relation'),
  of('42703', `column ${A} does not exist`, 'column'),
  of('3F000', `schema ${A} does not exist`, 'schema'),
  of('3D000', `database ${A} does not exist`, 'database'),
  of('42704', `unrecognized configuration parameter ${A}`, 'parameter'),
  of('42883', `(?:function|operator|procedure|aggregate) .* does not exist`),
  of('42704', `${KIND} ${A} does not exist`),
  of('42P07', `relation ${A} already exists`, 'relation'),
  of('42P06', `schema ${A} already exists`, 'schema'),
  of('42P04', `database ${A} already exists`, 'database'),
  of('42723', `function ${A} already exists with same argument types`, 'function'),
  of('42710', `${KIND} ${A} already exists`),
  of('XX000', `could not open relation with OID \\d+`),
  of('XX000', `cache lookup failed for [a-z ]+ \\d+`),
  of('55000', `access to non-system (?:view|foreign table) ${A} is restricted`, 'relation'),
  of('42809', `cannot copy from [a-z ]+ ${A}`, 'relation'),
  // Constraints.
  of('23514', `new row for relation ${A} violates check constraint ${B}`, 'table', 'constraint'),
  of('23514', `new row for relation ${A} violates partition constraint`, 'table'),
  of('23514', `check constraint ${A} of relation ${B} is violated by some row`, 'constraint', 'table'),
  of('23514', `value for domain (?<a>[^ ]+) violates check constraint ${B}`, 'domain', 'constraint'),
  of('23514', `no partition of relation ${A} found for row`, 'table'),
  of('23505', `duplicate key value violates unique constraint ${A}`, 'constraint'),
  of('23505', `could not create unique index ${A}`, 'index'),
  of('23502', `null value in column ${A} of relation ${B} violates not-null constraint`, 'column', 'table'),
  of('23502', `column ${A} of relation ${B} contains null values`, 'column', 'table'),
  of('23503', `insert or update on table ${A} violates foreign key constraint ${B}`, 'table', 'constraint'),
  of('23P01', `conflicting key value violates exclusion constraint ${A}`, 'constraint'),
  of('23P01', `could not create exclusion constraint ${A}`, 'constraint'),
  // Values.
  of('22P02', `(?:invalid input syntax for type|invalid input value for enum) ${REST}`),
  of('22003', `(?:value ".*" is out of range for type .*|[a-z ]+ out of range)`),
  of('22001', `value too long for type ${REST}`),
  of('22008', `date/time field value out of range${REST}`),
  of('22012', 'division by zero'),
  of('22021', `invalid byte sequence for encoding ${REST}`),
  of('22P05', `character with byte sequence ${REST}`),
  of('22P04', `missing data for column ${A}`, 'column'),
  of('22P04', 'extra data after last expected column'),
  of('22023', `invalid value for parameter ${A}: ${REST}`, 'parameter'),
  of('42601', `syntax error at (?:or near|end of) ?${REST}`),
  // Resources.
  of('53100', `(?:could not extend file|could not (?:write|resize) ).*`),
  of('53100', `.*: No space left on device`),
  of('53200', `out of (?:shared )?memory${REST}`),
  of('53300', `sorry, too many clients already`),
  of('53300', `remaining connection slots are reserved ${REST}`),
  of('53300', `too many connections for (?:database|role) ${REST}`),
  of('58030', `.*: Input/output error`),
  // Waits and ends.
  of('55P03', `canceling statement due to lock timeout`),
  of('55P03', `could not obtain lock on relation ${A}`, 'relation'),
  of('57014', `canceling statement due to (?:statement timeout|user request)`),
  of('40P01', 'deadlock detected'),
  of('40001', `(?:canceling statement|terminating connection) due to conflict with recovery`),
  of('55006', `database ${A} is being accessed by other users`, 'database'),
  of('57P01', `terminating connection due to administrator command`),
  of('57P02', `terminating connection because of crash of another server process`),
  of('57P03', `the database system is [a-z ]+`),
  of('57P05', `terminating connection due to idle-session timeout`),
  // Logins.
  of('28000', `no pg_hba.conf entry for ${REST}`),
  of('28000', `role ${A} is not permitted to log in`, 'role'),
  of('28000', `(?:peer|ident|[Ii]dent) authentication failed for user ${A}`, 'role'),
  of('28P01', `password authentication failed for user ${A}`, 'role'),
];

/** What is known of a message in English; undefined for one that is not known, whatever it says. */
export function matchTemplate(message: string): KnownMessage | undefined {
  for (const { pattern, sqlstate, kinds, lacks } of TEMPLATES) {
    const found = pattern.exec(message);
    if (found === null) continue;
    const { a, b, kind } = found.groups ?? {};
    const objects = [
      ...(a === undefined ? [] : [{ kind: kind ?? kinds?.[0] ?? 'object', name: a }]),
      ...(b === undefined ? [] : [{ kind: kinds?.[1] ?? 'object', name: b }]),
    ];
    return { sqlstate, objects, lacks: lacks === true };
  }
  return undefined;
}
