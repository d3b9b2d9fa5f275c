import pg from 'pg';

/** What is left out. */
const HIDDEN = '"…"';
/** Words before a quoted name of the catalogs, of a file or of a place: whatever else is quoted may be of a row, or a password. */
const NAMED =
  /(?:access method|aggregate|attribute|class|collation|column|configuration|constraint|conversion|database|dictionary|directory|encoding|extension|family|file|function|group|host|identifier|index|language|library|locale|locale name:|member|method|name|object|on socket|operator|option|parameter|parser|partition|policy|privilege|procedure|provider|publication|relation|role|routine|rule|schema|sequence|server|server at|slot|statistics|subscription|table|tablespace|template|transaction|trigger|type|user|view|wrapper) $/i;

/** One message of a server or its tools without the values in it: it leaves the host, where rows and secrets must stay (I8). */
export function withoutValues(message: string): string {
  // What follows a colon is the value itself, quotes and all.
  const cut = /(?<!locale name): "/.exec(message);
  const start = cut === null ? message : message.slice(0, cut.index);
  const told = start.replace(/"[^"]*"/g, (quoted: string, at: number) =>
    NAMED.test(start.slice(0, at)) ? quoted : HIDDEN,
  );
  return cut === null ? told : `${told}: ${HIDDEN}`;
}

/** RAISE says what somebody's function likes, and that may be of a row. */
const RAISED = 'a function of the database raised an exception';

/** What may be told of an error: for anything but an error of the server, all. */
export function redactError(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError)) return error;
  const { code, hint, length, name } = error;
  const raised = code === 'P0001';
  const told = new pg.DatabaseError(raised ? RAISED : withoutValues(error.message), length, name);
  if (code !== undefined) told.code = code;
  if (hint !== undefined && !raised) told.hint = withoutValues(hint);
  return told;
}

/**
 * Of a line of pg_restore or psql, what may be told; null for a line of which nothing may: DETAIL shows rows, CONTEXT and LINE
 * values and statements, and a statement may hold the password of a subscription, a user mapping or a role.
 */
export function redactToolLine(line: string): string | null {
  if (/^CONTEXT: {2}COPY /.test(line)) return /^.*?, line \d+(, column [^:]+)?/.exec(line)?.[0] ?? null;
  if (/^(CONTEXT: {2})?PL\/pgSQL function .* at RAISE$/.test(line)) return RAISES;
  if (line.startsWith('Command was: ')) {
    const NAME = '(?:"[^"]*"|[a-z_][a-z0-9_$]*)';
    return new RegExp(`^Command was: (?:[A-Z]+ )+(?:${NAME}(?:\\.${NAME})*)?`).exec(line)?.[0].trim() ?? null;
  }
  if (/^(FATAL|PANIC): |^server closed the connection unexpectedly$/.test(line)) return withoutValues(line);
  return /^(\S*\/)?(pg_restore|psql|setpriv): |^psql:\S+:\d+: /.test(line) ? withoutValues(line) : null;
}
const RAISES = 'CONTEXT:  a function that raises exceptions';

/** The message of a tool whose lines were told by `redactToolLine`, without what a function of the database said by RAISE. */
export const withoutRaised = (message: string): string => {
  const end = message.lastIndexOf(RAISES);
  if (end < 0) return message;
  const start = message.lastIndexOf('ERROR: ', end);
  return start < 0 ? RAISED : `${message.slice(0, start)}ERROR:  ${RAISED}${message.slice(end + RAISES.length)}`;
};
