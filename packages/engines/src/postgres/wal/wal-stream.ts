import { Failure, type LogStream, type StreamCheck, type StreamContext, type StreamRequirements } from '@lastgood/core';
import { makePrivateFolder } from '@lastgood/host';
import type { Finding } from '@lastgood/protocol';
import { makeFinding } from '@lastgood/protocol';
import type { PostgresConnection } from '../connection-schema.ts';
import { checkStreamSettings, readStreamSettings } from '../physical/settings-check.ts';
import type { Observed } from '../point-in-time/point-of-request.ts';
import { Session } from '../session.ts';
import { findGaps } from './continuity.ts';
import { formatInstant, type Micros } from './instant.ts';
import { formatLsn, type Lsn, parseLsn } from './lsn.ts';
import { createReceiverSlot, dropReceiverSlot, receiveWal } from './receiver.ts';
import type { ReceiverOutcome } from './receiver-options.ts';
import type { ReceiverRefusal } from './receiver-start.ts';
import { segmentLogSink } from './segment-log.ts';
import { readServerWal, type ServerWalView, switchWal } from './server-view.ts';
import { readSlotView, type SlotView } from './slot.ts';
import { StoredWal, storedSystemId } from './stored-wal.ts';
import { judgeStream, type StreamFinding, type StreamMemory } from './stream-judgment.ts';
import { RECEIVER_NAME, WAL_STREAM } from './streams.ts';
import type { WalStreamOptions } from './wal-stream-options.ts';

/** Each comparison lists the stored segments; a problem is known within a minute. */
const CHECK_MS = 15_000;
const LEAST_CHECK_MS = 1_000;
/** A commit gets its time a moment before its position. */
const MARGIN: Micros = 1_000_000n;
const MAX_GAPS = 20;
/** What `agent check` proposes for max_slot_wal_keep_size. */
const SLOT_LIMIT_MB = 10_240;
/** Segments without a commit that are read back for the time of the newest stored one. */
const READ_BACK = 4;

const stopped = (message: string, remedy?: string): Failure =>
  new Failure('STREAM_STOPPED', message, remedy === undefined ? {} : { remedy });

const REFUSALS: Readonly<Record<ReceiverRefusal, readonly [message: string, remedy?: string]>> = {
  'slot-missing': ['the replication slot does not exist'],
  'slot-uncapped': [
    'max_slot_wal_keep_size is -1: while the agent is away, the slot could fill the disk of the server',
    "Set a cap (ALTER SYSTEM SET max_slot_wal_keep_size = '10GB') and reload the configuration (pg_reload_conf).",
  ],
  'slot-active': [
    'another connection streams from the replication slot',
    'Give each agent and target a slot of its own.',
  ],
  'slot-lost': ['the server has removed WAL that the replication slot needs'],
  'slot-empty': ['the replication slot keeps no WAL'],
  'other-system': [
    'the WAL in the repository belongs to another cluster',
    'Point the target at the right server, or give the new server a target of its own.',
  ],
  'server-behind': [
    'the stored WAL goes beyond the end of the WAL of the server: the server was set back',
    'If it was restored on purpose, give it a target of its own: its history is another one.',
  ],
  'other-timeline': [
    'the server is on another timeline than the stored WAL',
    'If it was restored on purpose, give it a target of its own: its history is another one.',
  ],
};

interface Quiet {
  /** What was running and done when it was read; it changes with the end of every transaction that writes. */
  readonly snapshot: string;
  /** Every transaction that had ended by then is before this position. */
  readonly lsn: Lsn;
}

/** The WAL of one server, received over a slot and stored in the repository. WAL is acknowledged after its segment is in the repository. */
export class WalStream implements LogStream {
  readonly id = WAL_STREAM;
  readonly isEnabled: boolean;
  readonly checkEveryMs: number;
  readonly #connection: PostgresConnection;
  readonly #options: WalStreamOptions;
  #memory: StreamMemory | null = null;
  #quiet: Quiet | null = null;
  #observed: Observed = null;
  #storedUntil: Micros | null = null;
  /** Since when something that was committed is not stored, by the clock of the server. */
  #unstoredSince: Micros | null = null;
  /** Where the newest backup begins: a gap before it is past. */
  #newestBackup: Lsn = 0n;

  constructor(connection: PostgresConnection, options: WalStreamOptions) {
    this.#connection = connection;
    this.#options = options;
    this.isEnabled = options.enabled;
    const switchMs = (options.switchSeconds ?? Number.POSITIVE_INFINITY) * 1000;
    this.checkEveryMs = Math.max(LEAST_CHECK_MS, Math.min(CHECK_MS, switchMs / 2));
  }

  /** The newest comparison: everything committed up to `at` is before `lsn`. Null before the first. */
  get observed(): Observed {
    return this.#observed;
  }

  noteNewestBackup(startLsn: Lsn): void {
    this.#newestBackup = startLsn;
  }

  async #view(signal: AbortSignal): Promise<SlotView> {
    await using session = await Session.open(this.#connection, this.#connection.database, signal);
    return await readSlotView(session, this.#options.slot);
  }

  /** Makes the slot when it is missing, and anew when its WAL was lost: the gap shows in the stored segments. */
  async #prepareSlot({ note, signal }: StreamContext): Promise<SlotView> {
    const { slot: name } = this.#options;
    const view = await this.#view(signal);
    if (view.slotLimitBytes === null) throw refused('slot-uncapped');
    const { slot } = view;
    if (slot !== null && slot.walStatus !== 'lost' && slot.restartLsn !== null) return view;
    if (slot !== null) {
      note(`slot ${name} has lost its WAL and is created anew`);
      await dropReceiverSlot(this.#connection, name, signal);
    }
    await createReceiverSlot(this.#connection, name, signal);
    note(`created slot ${name}`);
    return await this.#view(signal);
  }

  async run(context: StreamContext): Promise<void> {
    const { log, signal, clock, spoolFolder, note } = context;
    await makePrivateFolder(spoolFolder);
    const { slot, spoolSegments } = this.#options;
    for (let afterGap = false; ; ) {
      const view = await this.#prepareSlot(context);
      const systemId = await storedSystemId(log, view.segmentBytes, signal);
      const { holdings } = await StoredWal.open([log], view, signal);
      const outcome = await receiveWal(
        {
          connection: this.#connection,
          slot,
          spoolFolder,
          spoolSegments,
          sink: segmentLogSink(log),
          stored: { systemId, holdings },
          acknowledge: 'repository',
          afterGap,
          clock,
          onState: () => undefined,
        },
        signal,
      );
      if (outcome.kind === 'stopped') return;
      if (outcome.kind !== 'gap' || afterGap) throw failureOf(outcome);
      note(
        `the server no longer has the WAL from ${formatLsn(outcome.from)} on; the stream goes on where the slot begins`,
      );
      afterGap = true;
    }
  }

  async check({ log, signal }: StreamContext): Promise<StreamCheck> {
    await using session = await Session.open(this.#connection, this.#connection.database, signal);
    const before = await readQuiet(session);
    const view = await readServerWal(session);
    const systemId = await storedSystemId(log, view.segmentBytes, signal);
    const stored = await StoredWal.open([log], { ...view, majorVersion: null }, signal);
    const judged = judgeStream(
      { kind: 'receiver', slot: this.#options.slot, applicationName: RECEIVER_NAME },
      view,
      { systemId, holdings: stored.holdings, streamedLsn: null },
      this.#memory,
    );
    this.#memory = judged.memory;
    const end = judged.status.storedLsn ?? 0n;
    const isUnchanged = before !== null && before.snapshot === this.#quiet?.snapshot;
    if (before !== null && !isUnchanged) this.#quiet = before;
    const isCovered = this.#quiet !== null && this.#quiet.lsn <= end;
    this.#observed = this.#quiet === null ? null : { at: view.at, lsn: this.#quiet.lsn };
    this.#noteStoredUntil(isCovered ? view.at - MARGIN : await lastCommit(stored, view));
    const findings = judged.findings.map((found) => findingOf(found, this.#newestBackup));
    if (await this.#switchIfDue(session, view, isCovered)) findings.push(makeFinding('WAL_SWITCH_NOT_ALLOWED', null));
    const isStalled = judged.status.state === 'stalled';
    return {
      findings,
      report: {
        id: this.id,
        state: isStalled ? 'stalled' : isCovered && isUnchanged ? 'idle' : 'running',
        storedTo: judged.status.storedLsn === null ? null : formatLsn(judged.status.storedLsn),
        serverAt: formatLsn(view.flushLsn),
        lagBytes:
          judged.status.storedLsn === null ? null : Math.max(0, Number(view.flushLsn - judged.status.storedLsn)),
        storedUntil: this.#storedUntil === null ? null : formatInstant(this.#storedUntil),
        gaps: findGaps(stored.holdings)
          .slice(-MAX_GAPS)
          .map(({ from, to }) => ({ from: formatLsn(from), to: formatLsn(to) })),
      },
    };
  }

  #noteStoredUntil(at: Micros | null): void {
    if (at !== null && (this.#storedUntil === null || at > this.#storedUntil)) this.#storedUntil = at;
  }

  /** Closes the segment when something in it has waited long enough. True: the role may not do that. */
  async #switchIfDue(session: Session, view: ServerWalView, isCovered: boolean): Promise<boolean> {
    const { switchSeconds } = this.#options;
    if (switchSeconds === null || view.isStandby || isCovered) {
      this.#unstoredSince = null;
      return false;
    }
    this.#unstoredSince ??= view.at;
    if (view.at - this.#unstoredSince < BigInt(switchSeconds) * 1_000_000n - BigInt(this.checkEveryMs) * 1_000n)
      return false;
    const may = "select has_function_privilege('pg_switch_wal()', 'execute') as may";
    if (!(await session.one<{ may: boolean }>(may)).may) return true;
    await switchWal(session);
    this.#unstoredSince = null;
    return false;
  }

  async readRequirements({ signal }: Pick<StreamContext, 'signal'>): Promise<StreamRequirements> {
    await using session = await Session.open(this.#connection, this.#connection.database, signal);
    // A standby cannot close segments.
    const { standby } = await session.one<{ standby: boolean }>('select pg_is_in_recovery() as standby');
    const switchSeconds = standby ? null : this.#options.switchSeconds;
    const wanted = { method: 'receiver', slotLimitMb: SLOT_LIMIT_MB, switchSeconds } as const;
    const found = checkStreamSettings(await readStreamSettings(session), wanted);
    const changes = found.changes.map(({ sql, needsRestart }) => ({ text: sql, needsRestart }));
    const reload = { text: 'SELECT pg_reload_conf();', needsRestart: false };
    return {
      statements: [
        ...changes,
        ...(changes.length > 0 ? [reload] : []),
        ...found.grants.map((text) => ({ text, needsRestart: false })),
      ],
      pendingRestart: found.pendingRestart,
      rpoSeconds: found.resultingRpoSeconds,
      unsafe: found.unsafe,
    };
  }

  async remove({ signal }: Pick<StreamContext, 'signal'>): Promise<void> {
    if ((await this.#view(signal)).slot !== null) await dropReceiverSlot(this.#connection, this.#options.slot, signal);
  }
}

const refused = (code: ReceiverRefusal): Failure => stopped(...REFUSALS[code]);

function failureOf(outcome: Exclude<ReceiverOutcome, { kind: 'stopped' }>): Failure {
  switch (outcome.kind) {
    case 'refused':
      return refused(outcome.code);
    case 'gap':
      return stopped(`the server removes WAL faster than it can be received: ${formatLsn(outcome.from)} is gone`);
    case 'invalid':
      return stopped(
        `${outcome.name} in the spool is not what its name says: ${outcome.problem.code}, ${outcome.problem.found} instead of ${outcome.problem.expected}`,
        'Look at the disk of the agent. Move the file out of the spool: the server sends it again.',
      );
    case 'conflict':
      return stopped(
        `other bytes are stored as ${outcome.name}: another server writes to the log of this target`,
        'Find out which server it is. Give each cluster a target of its own.',
      );
  }
}

/** The transactions that have ended, and a position behind all of them; null on a standby. Read in this order. */
async function readQuiet(session: Session): Promise<Quiet | null> {
  const { standby } = await session.one<{ standby: boolean }>('select pg_is_in_recovery() as standby');
  if (standby) return null;
  const { snapshot } = await session.one<{ snapshot: string }>('select pg_current_snapshot()::text as snapshot');
  const { lsn } = await session.one<{ lsn: string }>('select pg_current_wal_insert_lsn()::text as lsn');
  return { snapshot, lsn: parseLsn(lsn) };
}

/** The time of the newest commit that is stored; null when the newest segments hold none. */
async function lastCommit(stored: StoredWal, { timeline }: ServerWalView): Promise<Micros | null> {
  const range = stored.holdings.ranges.findLast((each) => each.timeline === timeline);
  if (range === undefined) return null;
  const first = Math.max(range.first, range.last - READ_BACK + 1);
  const files = Array.from({ length: range.last - first + 1 }, (_, index) => ({
    timeline,
    number: first + index,
    isPartial: false,
  }));
  const contents = await stored.contentsFromEnd(files, ({ latestXactAt }) => latestXactAt !== null);
  return [...contents.values()].findLast(({ latestXactAt }) => latestXactAt !== null)?.latestXactAt ?? null;
}

function findingOf(found: StreamFinding, newestBackup: Lsn): Finding {
  switch (found.code) {
    case 'wal-gap': {
      const { timeline, from, to } = found;
      const code = to <= newestBackup ? 'WAL_GAP_PASSED' : 'WAL_GAP';
      return makeFinding(code, null, { from: formatLsn(from), to: formatLsn(to), timeline });
    }
    case 'wal-other-system':
      return makeFinding('WAL_OTHER_SYSTEM', null, { found: found.systemId });
    case 'wal-slot-missing':
      return makeFinding('WAL_SLOT_MISSING', null);
    case 'wal-slot-uncapped':
      return makeFinding('WAL_SLOT_UNCAPPED', null);
    case 'wal-slot-lost':
      return makeFinding('WAL_SLOT_LOST', null);
    case 'wal-slot-at-risk':
      return makeFinding('WAL_SLOT_AT_RISK', null, { safe: Math.max(0, found.safeBytes) });
    case 'wal-receiver-absent':
      return makeFinding('WAL_RECEIVER_ABSENT', null, { since: formatInstant(found.since) });
    case 'wal-receiver-stalled': {
      const since = formatInstant(found.since);
      return makeFinding('WAL_RECEIVER_STALLED', null, { behind: Number(found.behindBytes), since });
    }
    case 'wal-archiving-off':
    case 'wal-archive-failing':
    case 'wal-archive-stalled':
    case 'wal-archived-elsewhere':
      throw new Failure('BUG', `a receiver has no finding ${found.code}`);
  }
}
