import { Failure, type ObjectStore } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { z } from 'zod';
import { canonicalJson } from './canonical-json.ts';
import { ownerName } from './layout.ts';
import { readJson } from './metadata.ts';
import { putOnce } from './put-once.ts';

/** Without `installId`, the next backup adopts the target. */
const ownerSchema = z.object({
  systemId: z.string().min(1),
  installId: z.string().min(1).optional(),
  /** The key that the writer signs with, for people: nothing in the repository makes a key trusted. */
  keyId: z.string().nullable().optional(),
});
type Owner = z.infer<typeof ownerSchema>;

/** Whose backups lie under the name of one target, and who writes there. */
export class TargetOwnership {
  readonly #store: ObjectStore;
  /** The installation that writes here; without it no target is claimed. */
  readonly #writer: string | undefined;

  readonly #keyId: string | undefined;

  constructor(store: ObjectStore, writer: string | undefined, keyId: string | undefined) {
    this.#store = store;
    this.#writer = writer;
    this.#keyId = keyId;
  }

  #foreign(ref: TargetRef, what: string, when: string): Failure {
    const { environment, host, target } = ref;
    return new Failure('REPOSITORY_FOREIGN', `${environment}/${host}/${target} ${what}`, {
      remedy: `Give each target its own repository or name. ${when} run \`lastgood agent adopt --target ${target}\` on its host, or remove ${this.#store.locate(ownerName(ref))}: the next backup takes the target over.`,
    });
  }

  /** Throws REPOSITORY_FOREIGN when another installation writes there (A15, B14). */
  async checkWriter(ref: TargetRef): Promise<Owner | undefined> {
    const owner = await readJson(this.#store, ownerName(ref), ownerSchema);
    if (owner?.installId !== undefined && owner.installId !== this.#writer)
      throw this.#foreign(
        ref,
        `is written by the installation ${owner.installId}, not by ${this.#writer ?? 'this one'}`,
        'When that agent is lost permanently, or is this one enrolled again,',
      );
    return owner;
  }

  /** Throws REPOSITORY_FOREIGN when a backup of this system by this writer would be refused. */
  async check(ref: TargetRef, systemId: string): Promise<Owner | undefined> {
    const owner = await this.checkWriter(ref);
    if (owner !== undefined && owner.systemId !== systemId)
      throw this.#foreign(
        ref,
        `holds backups of system ${owner.systemId}, not of ${systemId}`,
        'When these are the backups of a server that was replaced by this one,',
      );
    return owner;
  }

  /** Makes the target this writer's and this system's, or refuses: one server and one agent write there. */
  async claim(ref: TargetRef, systemId: string): Promise<void> {
    const owner = await this.check(ref, systemId);
    const keyId = this.#keyId ?? null;
    const text = `${canonicalJson({ systemId, installId: this.#writer, keyId })}\n`;
    if (owner === undefined) {
      // Of two that claim it at once, the second one meets the owner here.
      if (!(await putOnce(this.#store, ownerName(ref), text))) await this.check(ref, systemId);
    } else if (owner.installId !== this.#writer || (owner.keyId ?? null) !== keyId)
      await this.#store.put(ownerName(ref), Buffer.from(text));
  }

  /** Makes the target this writer's, whatever system its backups are of: copies may be of a server that was replaced since. */
  async claimForCopies(ref: TargetRef, systemId: string): Promise<void> {
    const owner = await this.checkWriter(ref);
    if (owner === undefined || owner.installId !== this.#writer) await this.claim(ref, owner?.systemId ?? systemId);
  }

  /** Takes the target from its owner, for the next backup to make it its own. False when it had no owner. */
  async release(ref: TargetRef): Promise<boolean> {
    if ((await this.#store.stat(ownerName(ref))) === undefined) return false;
    await this.#store.remove(ownerName(ref));
    return true;
  }
}
