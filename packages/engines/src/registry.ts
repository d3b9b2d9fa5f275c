import { type BackupMethodSupport, type EngineDefinition, Failure } from '@lastgood/core';
import { neo4j } from './neo4j/definition.ts';
import { postgres } from './postgres/definition.ts';
import { redis } from './redis/definition.ts';

/** Every engine of this version. A new one is added here and nowhere else outside its folder. */
export const engines: readonly [EngineDefinition, ...EngineDefinition[]] = [postgres, redis, neo4j];

/** The backups that this version can restore. */
export const supportedMethods: readonly BackupMethodSupport[] = engines.flatMap(({ name, methods }) =>
  methods.map((method) => ({ engine: name, method: method.name, roles: method.roles })),
);

/** The engine of that name; throws CONFIG_INVALID for an unknown one. */
export function engineNamed(name: string): EngineDefinition {
  const found = engines.find((engine) => engine.name === name);
  if (found === undefined)
    throw new Failure('CONFIG_INVALID', `unknown engine "${name}"`, {
      remedy: `Use one of: ${engines.map((engine) => engine.name).join(', ')}.`,
    });
  return found;
}
