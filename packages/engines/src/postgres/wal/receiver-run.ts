import { Failure } from '@lastgood/core';
import type { CommandEvent } from '../replication/command-stream.ts';
import { type ReplicationSession, sqlStateOf } from '../replication/replication-session.ts';
import { mergeRanges } from './continuity.ts';
import { type Micros, microsOfMs } from './instant.ts';
import { formatLsn, type Lsn, maxLsn, parseLsn } from './lsn.ts';
import { ReceiveSpool, type SpooledFile } from './receive-spool.ts';
import type { ReceiverOptions, ReceiverOutcome } from './receiver-options.ts';
import { planReceiverStart, type ServerPosition } from './receiver-start.ts';
import { readWalMessage, statusMessage, type WalMessage } from './replication-message.ts';
import { segmentAt, segmentStart } from './segment-name.ts';
import type { SlotView } from './slot.ts';
import { SpoolDrain } from './spool-drain.ts';
import { StatusSender } from './status-sender.ts';
import { parseTimelineHistory, pathTo } from './timeline-history.ts';
import { WalInspector } from './wal-inspector.ts';

/** SQLSTATE of a file that the server no longer has: here, a segment that was removed. */
const UNDEFINED_FILE = '58P01';
/** While more is on its way, this much is written between two syncs of the spool. */
const UNSYNCED_BYTES = 4n * 1024n * 1024n;

/** One run of a receiver, over one connection. */
export class ReceiverRun {
  readonly #options: ReceiverOptions;
  readonly #view: SlotView;
  readonly #session: ReplicationSession;
  readonly #signal: AbortSignal;
  readonly #spool: ReceiveSpool;
  readonly #drain: SpoolDrain;
  #timeline = 1;
  #received: Lsn = 0n;
  #spooled: Lsn = 0n;
  #stored: Lsn = 0n;
  #acknowledged: Lsn = 0n;
  #serverLsn: Lsn = 0n;
  #serverAt: Micros | null = null;
  #open: number | null = null;
  #hasRoom: () => void = () => undefined;

  constructor(options: ReceiverOptions, view: SlotView, session: ReplicationSession, signal: AbortSignal) {
    this.#options = options;
    this.#view = view;
    this.#session = session;
    this.#signal = signal;
    this.#spool = new ReceiveSpool(options.spoolFolder, view.segmentBytes);
    this.#drain = new SpoolDrain(this.#spool, options.sink, new WalInspector(view), (file) => this.#onStored(file));
  }

  /** Finds out where to start. Returns why it does not, or null. */
  async prepare(): Promise<ReceiverOutcome | null> {
    const server = await this.#serverPosition();
    const waiting = await this.#spool.files();
    const { stored } = this.#options;
    const spooled = waiting.flatMap(({ parsed }) =>
      parsed.kind === 'segment' ? [{ timeline: parsed.timeline, first: parsed.number, last: parsed.number }] : [],
    );
    const holdings = { ...stored.holdings, ranges: mergeRanges([...stored.holdings.ranges, ...spooled]) };
    const start = planReceiverStart(this.#view, server, { ...stored, holdings }, this.#options.afterGap);
    if (start.kind === 'refused') return start;
    const { segmentBytes, slot } = this.#view;
    this.#timeline = start.timeline;
    this.#received = start.lsn;
    this.#spooled = start.lsn;
    this.#stored = waiting.length === 0 ? start.lsn : 0n;
    // A slot never moves back: what it confirmed before stays confirmed.
    this.#acknowledged = slot?.restartLsn ?? 0n;
    await this.#spool.recover(start.timeline, segmentAt(start.lsn, segmentBytes));
    await this.#fetchHistories(server);
    for (const file of await this.#spool.files()) this.#drain.add(file);
    return null;
  }

  async #serverPosition(): Promise<ServerPosition> {
    const { timeline, flushLsn } = await this.#session.identify();
    if (timeline === 1) return { timeline, flushLsn, history: [] };
    const { content } = await this.#session.timelineHistory(timeline);
    return { timeline, flushLsn, history: parseTimelineHistory(content, timeline) };
  }

  /** Spools the histories on the way to the server's timeline that are not stored. A server may have lost old ones. */
  async #fetchHistories({ timeline, history }: ServerPosition): Promise<void> {
    const { histories } = this.#options.stored.holdings;
    for (const each of pathTo(timeline, history, this.#view.segmentBytes).map((step) => step.timeline))
      if (each > 1 && !histories.has(each)) await this.#fetchHistory(each);
  }
  async #fetchHistory(timeline: number): Promise<SpooledFile | null> {
    try {
      const { content } = await this.#session.timelineHistory(timeline);
      return await this.#spool.addHistory(timeline, content);
    } catch (error) {
      if (sqlStateOf(error) === UNDEFINED_FILE) return null;
      throw error;
    }
  }

  /** Stores what is spooled until a file cannot be stored. */
  async drain(): Promise<ReceiverOutcome> {
    return await this.#drain.run(this.#signal);
  }

  /** Streams one timeline after the other until the connection ends. */
  async receive(): Promise<ReceiverOutcome> {
    try {
      for (;;) {
        const next = await this.#stream();
        if (next.kind === 'gap') return next;
        await this.#follow(next.timeline, next.startLsn);
      }
    } finally {
      await this.#spool.close();
    }
  }

  async #stream(): Promise<
    | Extract<ReceiverOutcome, { kind: 'gap' }>
    | { readonly kind: 'next'; readonly timeline: number; readonly startLsn: Lsn }
  > {
    const from = this.#received;
    const command = this.#session.start(
      `START_REPLICATION SLOT "${this.#options.slot}" PHYSICAL ${formatLsn(from)} TIMELINE ${this.#timeline}`,
    );
    const status = new StatusSender(this.#options.clock, (wantsReply) => command.send(this.#status(wantsReply)));
    this.#sendStatus = () => status.send(false);
    this.#hasPending = () => command.hasPending();
    let next: { timeline: number; startLsn: Lsn } | undefined;
    try {
      for await (const event of command.events()) {
        status.heard();
        if (event.kind === 'copy-start') status.start(() => this.#session.interrupt());
        else if (event.kind === 'copy-end') command.endCopy();
        else if (event.kind === 'rows') next = nextTimeline(event) ?? next;
        else await status.whileBusy(() => this.#onMessage(readWalMessage(event.bytes)));
      }
    } catch (error) {
      if (sqlStateOf(error) !== UNDEFINED_FILE) throw status.failure ?? error;
      return { kind: 'gap', timeline: this.#timeline, from: this.#received, to: this.#view.slot?.restartLsn ?? null };
    } finally {
      status.stop();
    }
    if (next !== undefined) return { kind: 'next', ...next };
    throw new Failure('DATABASE_UNREACHABLE', 'the server ended the stream of WAL');
  }
  #sendStatus: () => void = () => undefined;
  #hasPending: () => boolean = () => false;

  /** The timeline ended: keeps its unfinished segment, then goes on at the beginning of the segment where the next one branched off. */
  async #follow(timeline: number, switchLsn: Lsn): Promise<void> {
    const { segmentBytes } = this.#view;
    const number = segmentAt(switchLsn, segmentBytes);
    const partial = await this.#spool.completePartial();
    this.#open = null;
    if (partial !== null) this.#drain.add(partial);
    for (const left of await this.#spool.recover(timeline, number)) this.#drain.add(left);
    const history = await this.#fetchHistory(timeline);
    if (history !== null) this.#drain.add(history);
    this.#timeline = timeline;
    this.#received = segmentStart(number, segmentBytes);
  }

  async #onMessage(message: WalMessage): Promise<void> {
    this.#serverLsn = maxLsn(this.#serverLsn, message.serverLsn);
    this.#serverAt = message.sentAt;
    if (message.kind === 'keepalive') {
      if (message.wantsReply) this.#sendStatus();
    } else {
      if (message.startLsn !== this.#received)
        throw new Failure(
          'DATABASE_ERROR',
          `the server sent WAL from ${formatLsn(message.startLsn)} instead of ${formatLsn(this.#received)}`,
        );
      await this.#write(message.bytes);
    }
    this.#report();
  }

  async #write(bytes: Buffer): Promise<void> {
    const { segmentBytes } = this.#view;
    for (let rest = bytes; rest.length > 0; ) {
      const number = segmentAt(this.#received, segmentBytes);
      if (this.#open === null) {
        await this.#waitForRoom();
        await this.#spool.begin(this.#timeline, number);
        this.#open = number;
      }
      const end = segmentStart(number + 1, segmentBytes);
      const piece = rest.subarray(0, Number(end - this.#received));
      await this.#spool.write(this.#received, piece, this.#protectedEnd());
      this.#received += BigInt(piece.length);
      rest = rest.subarray(piece.length);
      if (this.#received === end) {
        this.#drain.add(await this.#spool.complete());
        this.#open = null;
        this.#advanceSpooled();
        this.#report();
      }
    }
    const unsynced = this.#received - this.#spooled;
    const isDue = unsynced > 0n && (!this.#hasPending() || unsynced > UNSYNCED_BYTES);
    if (this.#options.acknowledge !== 'spool' || !isDue) return;
    await this.#spool.sync();
    this.#advanceSpooled();
  }

  /** Only what was acknowledged from the spool must not change; without that the bytes of an old open segment mean nothing. */
  #protectedEnd(): Lsn {
    return this.#options.acknowledge === 'spool' ? (this.#view.slot?.restartLsn ?? 0n) : 0n;
  }

  /** Waits until the repository has taken enough: the server keeps what comes meanwhile. */
  async #waitForRoom(): Promise<void> {
    while (this.#drain.waiting >= this.#options.spoolSegments) {
      this.#signal.throwIfAborted();
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#hasRoom = resolve;
      this.#signal.addEventListener('abort', this.#hasRoom, { once: true });
      await promise;
    }
  }

  #advanceSpooled(): void {
    this.#spooled = this.#received;
    if (this.#options.acknowledge === 'spool') this.#acknowledge(this.#spooled);
  }

  #onStored({ parsed }: SpooledFile): void {
    if (parsed.kind === 'segment') {
      this.#stored = segmentStart(parsed.number + 1, this.#view.segmentBytes);
      if (this.#options.acknowledge === 'repository') this.#acknowledge(this.#stored);
    }
    this.#hasRoom();
    this.#report();
  }

  #acknowledge(lsn: Lsn): void {
    if (lsn <= this.#acknowledged) return;
    this.#acknowledged = lsn;
    this.#sendStatus();
  }

  #status(wantsReply: boolean): Buffer {
    const written = maxLsn(this.#spooled, this.#acknowledged);
    const status = { written, flushed: this.#acknowledged, wantsReply };
    return statusMessage(status, microsOfMs(this.#options.clock.now()));
  }

  #report(): void {
    this.#options.onState({
      timeline: this.#timeline,
      receivedLsn: this.#received,
      spooledLsn: this.#spooled,
      storedLsn: this.#stored,
      serverLsn: this.#serverLsn,
      serverAt: this.#serverAt,
      waitingSegments: this.#drain.waiting,
    });
  }
}

/** The row that ends a timeline. */
function nextTimeline(event: Extract<CommandEvent, { kind: 'rows' }>): { timeline: number; startLsn: Lsn } | undefined {
  const { next_tli: timeline, next_tli_startpos: start } = event.rows[0] ?? {};
  return timeline == null || start == null ? undefined : { timeline: Number(timeline), startLsn: parseLsn(start) };
}
