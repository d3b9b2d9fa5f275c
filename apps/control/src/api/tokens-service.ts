import { Failure } from '@lastgood/core';
import type { AdminApi, TokenView } from '@lastgood/protocol';
import type { TokenRecord } from '../catalog/tokens.ts';
import { type ApiParts, auditChange } from './api-parts.ts';
import { hostStateOf } from './host-state.ts';
import { newToken } from './new-token.ts';

const HOUR_MS = 3_600_000;
type Created = Promise<{ token: string; view: TokenView }>;

const viewOf = ({ hash: _hash, ...record }: TokenRecord): TokenView => record;

export class TokensService {
  readonly #parts: ApiParts;

  constructor(parts: ApiParts) {
    this.#parts = parts;
  }

  async list(): Promise<TokenView[]> {
    return (await this.#parts.catalog.tokens.list()).map(viewOf);
  }

  async create({ name, scope, expiresInHours }: Parameters<AdminApi['createToken']>[0]): Created {
    const { catalog, clock } = this.#parts;
    const now = clock.now();
    const expiresAt = expiresInHours === null ? null : now + expiresInHours * HOUR_MS;
    const { token, record } = newToken(
      { name, kind: 'api', scope, environment: null, host: null, expiresAt, usesLeft: null },
      now,
    );
    const audit = auditChange(this.#parts, 'token.create', name, `${record.id} ${scope}`);
    await catalog.commit([{ type: 'token.create', token: record }, audit]);
    return { token, view: viewOf(record) };
  }

  async createEnroll(input: Parameters<AdminApi['createEnrollToken']>[0]): Created {
    const { catalog, clock, registry } = this.#parts;
    const { environment, host, expiresInHours, replace } = input;
    const enrolled = registry.agentNamed(environment, host);
    if (enrolled !== undefined && !replace)
      throw new Failure(
        'CONFLICT',
        `${environment}/${host} is enrolled (${hostStateOf(registry, enrolled)}): the token would replace its agent`,
        { remedy: 'Repeat with --replace if that agent is gone, or is this one enrolled again.' },
      );
    const now = clock.now();
    const name = `${environment}/${host}`;
    const { token, record } = newToken(
      { name, kind: 'enroll', scope: null, environment, host, expiresAt: now + expiresInHours * HOUR_MS, usesLeft: 1 },
      now,
    );
    await catalog.commit([
      { type: 'token.create', token: record },
      auditChange(this.#parts, 'token.enroll', name, record.id),
    ]);
    return { token, view: viewOf(record) };
  }

  async revoke(id: string): Promise<TokenView> {
    const { catalog, clock } = this.#parts;
    const known = (await catalog.tokens.list()).find((token) => token.id === id);
    if (known === undefined)
      throw new Failure('NOT_FOUND', `there is no token ${id}`, {
        remedy: 'List the tokens with `lastgood tokens list`.',
      });
    const at = clock.now();
    await catalog.commit([{ type: 'token.revoke', id, at }, auditChange(this.#parts, 'token.revoke', known.name, id)]);
    return viewOf({ ...known, revokedAt: known.revokedAt ?? at });
  }
}
