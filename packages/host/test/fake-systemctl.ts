import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** `show` prints the next state of the current sequence and repeats the last. Other verbs are logged, fail on request, and start a new sequence. */
const SCRIPT = `#!/bin/sh
cd "$(dirname "$0")" || exit 99
for verb; do case $verb in --*) ;; *) break ;; esac; done
if [ "$verb" != show ]; then
  echo "$*" >>calls
  code=$(cat "exit-$verb" 2>/dev/null || echo 0)
  if [ "$code" = 0 ] && [ -d "after-$verb" ]; then echo "after-$verb" >states; fi
  exit "$code"
fi
states=$(cat states)
at=$(cat "$states/at")
[ -f "$states/$((at + 1))" ] && echo $((at + 1)) >"$states/at"
cat "$states/$at" | tee last
`;
const DEFAULTS = { LoadState: 'loaded', Result: 'success', MainPID: '0', Job: '', NRestarts: '0' };

/** The properties that one `systemctl show` reports. The defaults are those of a loaded unit without a process. */
export type UnitState = Readonly<Record<string, string>>;
export const RUNNING: UnitState = { ActiveState: 'active', SubState: 'running', MainPID: '4711' };
export const STOPPED: UnitState = { ActiveState: 'inactive', SubState: 'dead' };
export const STOPPING: UnitState = {
  ActiveState: 'deactivating',
  SubState: 'stop-sigterm',
  MainPID: '4711',
  Job: '17',
};
export const STARTING: UnitState = { ActiveState: 'activating', SubState: 'start', MainPID: '4711', Job: '18' };
export const FAILED: UnitState = {
  ActiveState: 'failed',
  SubState: 'failed',
  Result: 'exit-code',
  ExecMainStatus: '1',
};
export const RESTARTING: UnitState = { ...FAILED, ActiveState: 'activating', SubState: 'auto-restart', NRestarts: '4' };
export const MASKED: UnitState = { ...STOPPED, LoadState: 'masked' };
export const NOT_FOUND: UnitState = { ...STOPPED, LoadState: 'not-found' };

/** An executable `systemctl` that keeps its state in files. The test sets its unit states and exit statuses. */
export class FakeSystemctl {
  readonly path: string;
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, 'systemctl');
  }

  static async create(folder: string, ...states: readonly UnitState[]): Promise<FakeSystemctl> {
    const fake = new FakeSystemctl(folder);
    await mkdir(folder, { recursive: true });
    await writeFile(fake.path, SCRIPT);
    await chmod(fake.path, 0o755);
    await writeFile(join(folder, 'calls'), '');
    await fake.#writeStates('initial', states);
    await writeFile(join(folder, 'states'), 'initial');
    return fake;
  }

  /** The states that a successful verb leads to, one for each following `show`. */
  after(verb: 'start' | 'stop', ...states: readonly UnitState[]): Promise<void> {
    return this.#writeStates(`after-${verb}`, states);
  }

  exitWith(verb: 'start' | 'stop', code: number): Promise<void> {
    return writeFile(join(this.#folder, `exit-${verb}`), String(code));
  }

  /** The arguments of every call but `show`. */
  async calls(): Promise<string[]> {
    return (await readFile(join(this.#folder, 'calls'), 'utf8')).split('\n').filter((line) => line !== '');
  }

  /** Whether the server, if it were real, would serve: what the last `show` reported. */
  async serves(): Promise<boolean> {
    return (await readFile(join(this.#folder, 'last'), 'utf8')).includes('ActiveState=active\n');
  }

  async #writeStates(name: string, states: readonly UnitState[]): Promise<void> {
    const folder = join(this.#folder, name);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'at'), '0');
    for (const [index, state] of states.entries()) {
      const lines = Object.entries({ ...DEFAULTS, ...state }).map(([key, value]) => `${key}=${value}\n`);
      await writeFile(join(folder, String(index)), lines.join(''));
    }
  }
}
