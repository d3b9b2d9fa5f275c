import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '@lastgood/core';
import { LIMITS } from '@lastgood/protocol';
import type { WebSocket } from 'ws';

/** Bounds what one socket may have in flight in either direction (K5). */
export class SocketFlow {
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #drainMs: number;
  readonly #tooSlow: () => void;
  #inFlight = 0;
  /** Why nothing is read from the socket at the moment. */
  readonly #paused = new Set<'calls' | 'reader'>();

  /** `tooSlow` is called when the other side has read nothing for `drainMs` while much waits for it. */
  constructor(socket: WebSocket, clock: Clock, drainMs: number, tooSlow: () => void) {
    this.#socket = socket;
    this.#clock = clock;
    this.#drainMs = drainMs;
    this.#tooSlow = tooSlow;
  }

  #pause(why: 'calls' | 'reader'): void {
    this.#paused.add(why);
    this.#socket.pause();
  }
  #resume(why: 'calls' | 'reader'): void {
    if (this.#paused.delete(why) && this.#paused.size === 0) this.#socket.resume();
  }

  /** Counts the calls that the socket has in flight, and stops reading from it above the limit. */
  readonly throttle = async <T>(work: () => Promise<T>): Promise<T> => {
    this.#inFlight += 1;
    if (this.#inFlight > LIMITS.inFlightCalls) this.#pause('calls');
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight <= LIMITS.inFlightCalls / 2) this.#resume('calls');
    }
  };

  /** To be called for each message: a caller that does not read its answers is not read either until it does. */
  received(): void {
    if (this.#socket.bufferedAmount <= LIMITS.maxBufferedBytes || this.#paused.has('reader')) return;
    this.#pause('reader');
    void this.drained().then(() => this.#resume('reader'));
  }

  /** Waits until little is buffered. False: the other side reads nothing, or the socket is closed. */
  async drained(): Promise<boolean> {
    const until = this.#clock.monotonic() + this.#drainMs;
    while (this.#socket.readyState === this.#socket.OPEN && this.#socket.bufferedAmount > LIMITS.maxBufferedBytes) {
      if (this.#clock.monotonic() > until) {
        this.#tooSlow();
        return false;
      }
      await delay(20);
    }
    return true;
  }
}
