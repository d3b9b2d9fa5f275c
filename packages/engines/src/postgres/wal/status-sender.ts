import { type Clock, Failure } from '@lastgood/core';

const STATUS_EVERY_MS = 10_000;
/** The server responds to each status within moments; silence for this long is a broken connection. */
const SILENCE_MS = 60_000;

/** Sends statuses in time, and notices a server that stopped responding. */
export class StatusSender {
  readonly #clock: Clock;
  readonly #send: (wantsReply: boolean) => void;
  #timer: NodeJS.Timeout | undefined;
  #heardAt = 0;
  #isBusy = false;
  failure: Failure | undefined;

  constructor(clock: Clock, send: (wantsReply: boolean) => void) {
    this.#clock = clock;
    this.#send = send;
  }
  /** From the start of the copy on. `interrupt` breaks the connection. */
  start(interrupt: () => void): void {
    this.heard();
    this.#send(false);
    this.#timer = setInterval(() => {
      // While we are busy nothing is read, so silence is ours.
      if (!this.#isBusy && this.#clock.monotonic() - this.#heardAt > SILENCE_MS) {
        this.failure = new Failure('DATABASE_UNREACHABLE', `the server sent nothing for ${SILENCE_MS / 1000} s`);
        interrupt();
      } else this.#send(true);
    }, STATUS_EVERY_MS);
  }
  send(wantsReply: boolean): void {
    if (this.#timer !== undefined) this.#send(wantsReply);
  }
  heard(): void {
    this.#heardAt = this.#clock.monotonic();
  }
  async whileBusy(work: () => Promise<void>): Promise<void> {
    this.#isBusy = true;
    try {
      await work();
    } finally {
      this.#isBusy = false;
      this.heard();
    }
  }
  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
