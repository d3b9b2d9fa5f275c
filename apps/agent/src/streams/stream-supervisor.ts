import type { Finding, StreamReport } from '@lastgood/protocol';
import type { Target } from '../jobs/targets.ts';
import { type StreamParts, SupervisedStream } from './supervised-stream.ts';

/** The log streams of all targets of this host. */
export class StreamSupervisor {
  readonly #parts: StreamParts;
  readonly #streams = new Map<string, { readonly target: Target; readonly stream: SupervisedStream }>();
  #changing: Promise<void> = Promise.resolve();

  constructor(parts: StreamParts) {
    this.#parts = parts;
  }

  /** Starts the streams of targets that are new or changed, after those that they replace have ended. */
  update(targets: ReadonlyMap<string, Target>): void {
    this.#changing = this.#changing.then(() => this.#change(targets));
  }
  async #change(targets: ReadonlyMap<string, Target>): Promise<void> {
    const ended = [...this.#streams].filter(([name, { target }]) => targets.get(name) !== target);
    for (const [name] of ended) this.#streams.delete(name);
    await Promise.all(ended.map(([, { stream }]) => stream.stop()));
    for (const [name, target] of targets) {
      const { stream } = target.engine;
      if (stream !== undefined && !this.#streams.has(name))
        this.#streams.set(name, { target, stream: new SupervisedStream(target, stream, this.#parts) });
    }
  }

  /** Where the stream of a target is; undefined when it has none. */
  report(target: string): StreamReport | undefined {
    return this.#streams.get(target)?.stream.report;
  }
  get reports(): { target: string; report: StreamReport }[] {
    return [...this.#streams].map(([target, { stream }]) => ({ target, report: stream.report }));
  }
  findings(target: string): readonly Finding[] {
    return this.#streams.get(target)?.stream.findings ?? [];
  }

  /** Ends every stream. What was received and not stored stays in the spools. */
  async stop(): Promise<void> {
    await this.#changing;
    await this.#change(new Map());
  }
}
