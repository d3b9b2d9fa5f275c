import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '@lastgood/core';
import { LIMITS } from '@lastgood/protocol';
import type { WebSocket } from 'ws';
import type { AgentRate } from './agent-rates.ts';

/** An answer that comes later ends the session of an agent. */
const MAX_WAIT_MS = 20_000;

/** `calls`: too many in flight · `reader`: it does not read its answers · `rate`: its agent goes too fast. */
type Pause = 'calls' | 'reader' | 'rate';

/** Bounds what one socket may have in flight in either direction (K5). */
export class SocketFlow {
  readonly #socket: WebSocket;
  readonly #clock: Clock;
  readonly #drainMs: number;
  readonly #tooSlow: () => void;
  readonly #rate: AgentRate;
  #inFlight = 0;
  #rateTimer: NodeJS.Timeout | undefined;
  /** Why nothing is read from the socket at the moment. */
  readonly #paused = new Set<Pause>();

  /** `tooSlow` is called when the other side has read nothing for `drainMs` while much waits for it. */
  constructor(socket: WebSocket, clock: Clock, drainMs: number, rate: AgentRate, tooSlow: () => void) {
    this.#socket = socket;
    this.#clock = clock;
    this.#drainMs = drainMs;
    this.#rate = rate;
    this.#tooSlow = tooSlow;
    socket.once('close', () => clearTimeout(this.#rateTimer));
  }

  #pause(why: Pause): void {
    this.#paused.add(why);
    this.#socket.pause();
  }
  #resume(why: Pause): void {
    if (this.#paused.delete(why) && this.#paused.size === 0) this.#socket.resume();
  }

  /** Counts the calls that the socket has in flight, and stops reading from it above the limit. */
  readonly throttle = async <T>(work: () => Promise<T>): Promise<T> => {
    this.#slowDown(this.#rate.calls.take(1));
    this.#inFlight += 1;
    if (this.#inFlight > LIMITS.inFlightCalls) this.#pause('calls');
    try {
      return await work();
    } finally {
      this.#inFlight -= 1;
      if (this.#inFlight <= LIMITS.inFlightCalls / 2) this.#resume('calls');
    }
  };

  /** Reads nothing from the socket for so long. */
  #slowDown(waitMs: number): void {
    if (waitMs === 0 || this.#paused.has('rate')) return;
    this.#pause('rate');
    this.#rateTimer = setTimeout(() => this.#resume('rate'), waitMs);
  }

  /** Waits as long as an agent has to that describes so many jobs of its own. */
  async jobsDescribed(count: number): Promise<void> {
    const waitMs = this.#rate.jobs.take(count);
    if (waitMs > 0) await delay(Math.min(waitMs, MAX_WAIT_MS));
  }

  /** To be called for each message: a caller that does not read its answers is not read either until it does. */
  received(bytes: number): void {
    this.#slowDown(this.#rate.bytes.take(bytes));
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
