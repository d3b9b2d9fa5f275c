import { matchTemplate } from './message-templates.ts';
import { type ServerMessage, UNKNOWN_MESSAGE } from './server-message.ts';

/** What one of PostgreSQL's client tools reported on its standard error, without any text that came from the server. */
export interface ToolReport {
  /** The error of the server that ended the tool; null when the server reported none. */
  readonly server: ServerMessage | null;
  /** The connection could not be made, or was lost. */
  readonly lost: boolean;
  /** The tool could not read its archive. */
  readonly damaged: boolean;
  /** The number of the archive's entry at which pg_restore ended. */
  readonly entryId: number | null;
  /** The relation that a statement of the tool's own was about. */
  readonly relation: string | null;
  /** Warnings that are known word by word, and how many others there were. */
  readonly warnings: readonly KnownWarning[];
  readonly otherWarnings: number;
}
export type KnownWarning =
  | { readonly type: 'circularForeignKeys'; readonly table: string }
  | { readonly type: 'subscriptionsLeftOut' }
  | { readonly type: 'collationVersion'; readonly database: string };

/** The tools' own messages are in English, for they run with LC_ALL=C. */
const LINE = /^(?:\S*\/)?(?:pg_dump|pg_dumpall|pg_restore): (?:(error|warning|detail|hint): )?(.*)$/s;
/** What stands before the server's own message in an error of a tool. */
const FROM_SERVER =
  /^(?:could not execute query|query failed|COPY failed for table ".*?"|error returned by PQ\w+|could not (?:start|commit) database transaction|could not (?:create|open|write to) large object[^:]*|Error message from server): (.*)$/s;
const CONNECTION =
  /^(?:connection to (?:server|database) .*? failed|reconnection failed|could not connect to (?:server|database)[^:]*): ?(.*)$/s;
const LOST =
  /^(?:server closed the connection unexpectedly|no connection to the server|connection not open|SSL (?:connection has been closed unexpectedly|SYSCALL error: .*)|could not (?:receive|send) data (?:from|to) server: .*|could not translate host name .*)/;
const SEVERITY = /^(?:ERROR|FATAL|PANIC): {2}(.*)$/s;
const DAMAGED =
  /end of file|valid archive|magic string|too short|compress|block type|unsupported version|corrupt|dump ID|could not (?:read|find|seek)|in file header/;
/** A statement of pg_dump that names what it reads. */
const STATEMENT =
  /^(?:Query|Command) was: (?:LOCK TABLE (?:ONLY )?|COPY |SELECT last_value, is_called FROM )((?:"(?:[^"]|"")*"|[\w$]+)(?:\.(?:"(?:[^"]|"")*"|[\w$]+))?)/;
const ENTRY = /^from TOC entry (\d+); /;
/** The context of an error that COPY itself met; any other is code of the database. */
const COPY_CONTEXT = /^CONTEXT: {2}COPY .*, line (\d+)/;

const CIRCULAR = /^there are circular foreign-key constraints/;
const SUBSCRIPTIONS = /^subscriptions not dumped because current user is not a superuser$/;
/** What the server sends beside errors begins with a severity, in its language. */
const NOTICE = /^\p{Lu}+: {2}/u;
const COLLATION = /^WARNING: {2}database "([^"]+)" has a collation version mismatch$/;

interface Pending {
  /** Null: no message of the server. */
  text: string | null;
  lost: boolean;
  damaged: boolean;
  inCode: boolean;
  line: number | null;
}

/**
 * Reads the standard error of one run of a tool line by line (`ToolCall.redactStderr`) and lets no line out. The server's part of a
 * line is read only when the session of the tool is known to get its messages in English (`untranslated`), and only by templates.
 * The last error counts: the tool ends with it, and whatever a function of the database printed before stands above it.
 */
export class ToolMessages {
  readonly #untranslated: boolean;
  readonly #warnings: KnownWarning[] = [];
  #otherWarnings = 0;
  #error: Pending | undefined;
  #entryId: number | null = null;
  #relation: string | null = null;
  /** The detail lines that follow name the tables of this warning. */
  #circular = false;

  constructor({ untranslated }: { readonly untranslated: boolean }) {
    this.#untranslated = untranslated;
  }

  /** Takes one line; returns nothing that may be shown. */
  readonly take = (line: string): null => {
    const [, kind, text = ''] = LINE.exec(line) ?? [];
    if (kind !== 'detail') this.#circular = false;
    if (kind === 'error') this.#takeError(text);
    else if (kind === 'warning') this.#takeWarning(text);
    else if (kind === 'detail') this.#takeDetail(text);
    else if (ENTRY.test(text)) this.#entryId = Number(ENTRY.exec(text)?.[1]);
    else this.#takeRest(line, text);
    return null;
  };

  get report(): ToolReport {
    return {
      server: this.#serverMessage(),
      lost: this.#error?.lost === true,
      damaged: this.#error?.damaged === true,
      entryId: this.#entryId,
      relation: this.#relation,
      warnings: this.#warnings,
      otherWarnings: this.#otherWarnings,
    };
  }

  #takeError(text: string): void {
    const server = FROM_SERVER.exec(text)?.[1] ?? null;
    const connection = CONNECTION.exec(text)?.[1];
    const lost = LOST.test(server ?? text) || connection !== undefined;
    this.#error = {
      text: lost ? (connection ?? null) : server,
      lost,
      damaged: server === null && !lost && DAMAGED.test(text),
      inCode: false,
      line: null,
    };
  }

  #takeDetail(text: string): void {
    if (this.#circular) this.#warnings.push({ type: 'circularForeignKeys', table: text });
    const [, relation] = STATEMENT.exec(text) ?? [];
    if (relation !== undefined) this.#relation = relation;
    const server = FROM_SERVER.exec(text)?.[1];
    if (server === undefined || this.#error === undefined) return;
    this.#error.text = server;
    this.#error.lost = LOST.test(server);
  }

  #takeWarning(text: string): void {
    if (CIRCULAR.test(text)) this.#circular = true;
    else if (SUBSCRIPTIONS.test(text)) this.#warnings.push({ type: 'subscriptionsLeftOut' });
    else this.#otherWarnings += 1;
  }

  /** Lines that follow an error, and what the server sends beside errors. */
  #takeRest(line: string, ownText: string): void {
    if (this.#error !== undefined) {
      if (LOST.test(line)) this.#error.lost = true;
      if (!this.#untranslated || !line.startsWith('CONTEXT: ')) return;
      const at = COPY_CONTEXT.exec(line)?.[1];
      if (at === undefined) this.#error.inCode = true;
      else this.#error.line ??= Number(at);
      return;
    }
    const [, database] = this.#untranslated ? (COLLATION.exec(ownText === '' ? line : ownText) ?? []) : [];
    if (database !== undefined) this.#warnings.push({ type: 'collationVersion', database });
    else if (ownText === '' ? line.trim() !== '' : NOTICE.test(ownText)) this.#otherWarnings += 1;
  }

  #serverMessage(): ServerMessage | null {
    if (this.#error === undefined || this.#error.text === null) return null;
    const { text, inCode, line } = this.#error;
    const message = SEVERITY.exec(text)?.[1];
    const known = this.#untranslated && message !== undefined ? matchTemplate(message) : undefined;
    if (inCode) return { ...UNKNOWN_MESSAGE, sqlstate: null, inCode };
    return known === undefined ? { ...UNKNOWN_MESSAGE, line } : { ...known, inCode, line };
  }
}
