import { Failure } from '@lastgood/core';
import type { AdminApi, EvidenceView, StoredEvidence } from '@lastgood/protocol';
import type { ApiParts } from './api-parts.ts';

/** The reports of runs and drills. */
export class EvidenceService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list({ limit }: Parameters<AdminApi['evidence']>[0]): Promise<EvidenceView[]> {
    return await this.#parts.catalog.evidence.list(limit);
  }

  async get(sequence: number): Promise<StoredEvidence> {
    const found = await this.#parts.catalog.evidence.get(sequence);
    if (found !== undefined) return found;
    throw new Failure('NOT_FOUND', `there is no evidence ${sequence}`, {
      remedy: 'List the reports with `lastgood evidence list`.',
    });
  }
}
