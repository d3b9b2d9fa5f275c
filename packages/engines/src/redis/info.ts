import type { RedisSession } from './client.ts';

/** The fields of INFO. A field that the server does not report is null, or false for a flag. */
export class ServerInfo {
  readonly #fields = new Map<string, string>();
  readonly #modules: string[] = [];

  constructor(text: string) {
    for (const line of text.split(/\r?\n/)) {
      const colon = line.indexOf(':');
      if (colon < 1 || line.startsWith('#')) continue;
      const name = line.slice(0, colon);
      const value = line.slice(colon + 1);
      if (name === 'module') this.#modules.push(value);
      else this.#fields.set(name, value);
    }
  }

  text(name: string): string | null {
    return this.#fields.get(name) ?? null;
  }
  number(name: string): number | null {
    const text = this.#fields.get(name);
    return text !== undefined && /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : null;
  }
  flag(name: string): boolean {
    return this.#fields.get(name) === '1';
  }
  /** Fields of one value, such as `keys=1,expires=0`. */
  parts(value: string): Map<string, string> {
    return new Map(
      value.split(',').map((part) => [part.slice(0, part.indexOf('=')), part.slice(part.indexOf('=') + 1)]),
    );
  }
  modules(): { name: string; version: string }[] {
    return this.#modules.map((value) => {
      const parts = this.parts(value);
      return { name: parts.get('name') ?? '', version: parts.get('ver') ?? '' };
    });
  }
  /** Keys and expiries by database number; a database without keys is not listed. */
  keyspace(): Record<string, { keys: number; expires: number }> {
    const databases: Record<string, { keys: number; expires: number }> = {};
    for (const [name, value] of this.#fields) {
      const number = /^db(\d+)$/.exec(name)?.[1];
      if (number === undefined) continue;
      const parts = this.parts(value);
      databases[number] = { keys: Number(parts.get('keys') ?? 0), expires: Number(parts.get('expires') ?? 0) };
    }
    return databases;
  }
}

/** All of INFO, or the sections that are named. Needs `+info`; a server that is loading replies as well. */
export async function readInfo(session: RedisSession, ...sections: readonly string[]): Promise<ServerInfo> {
  return new ServerInfo(String(await session.call('INFO', ...sections)));
}
