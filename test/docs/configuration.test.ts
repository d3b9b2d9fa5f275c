import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { agentConfigJsonSchema, readAgentConfig } from '@lastgood/agent';
import { writeFileDurably } from '@lastgood/host';
import { root, temporaryFolder } from '@lastgood/testkit';
import { expect, test } from 'vitest';

const page = readFileSync(join(root, 'docs/configuration.md'), 'utf8');

interface Schema {
  readonly properties?: Record<string, Schema>;
  readonly additionalProperties?: Schema | boolean;
  readonly oneOf?: readonly Schema[];
}
/** Every key that a file may have, as the page writes it. */
function keysOf({ properties = {}, additionalProperties, oneOf = [] }: Schema, path: readonly string[]): string[] {
  if (oneOf.length > 0) return [...new Set(oneOf.flatMap((schema) => keysOf(schema, path)))];
  const nested = Object.entries(properties).flatMap(([name, schema]) => keysOf(schema, [...path, name]));
  if (typeof additionalProperties === 'object' && (additionalProperties.properties ?? additionalProperties.oneOf))
    return keysOf(additionalProperties, [...path, '<name>']);
  return nested.length > 0 ? nested : [path.join('.')];
}

test('docs/agent-config.schema.json is the schema that the agent checks with (vitest -u writes it)', async () => {
  const text = `${JSON.stringify(agentConfigJsonSchema(), null, 2)}\n`;
  await expect(text).toMatchFileSnapshot('../../docs/agent-config.schema.json');
});

test('docs/configuration.md explains every key of the agent file, and no other', () => {
  const keys = keysOf(agentConfigJsonSchema(), []).filter((key) => !key.endsWith('.labels'));
  const told = [...page.matchAll(/^\| `([a-zA-Z.<>]+)` \| /gm)].map((row) => row[1] ?? '');
  expect(told.toSorted()).toEqual(keys.toSorted());
});

test('the example of docs/configuration.md is a valid agent file', async () => {
  await using folder = await temporaryFolder();
  const file = join(folder.path, 'agent.yaml');
  await writeFileDurably(file, /```yaml\n([\s\S]*?)```/.exec(page)?.[1] ?? '');
  const config = await readAgentConfig(file);
  expect(config.targets['shop']?.allow.restore).toEqual(['new', 'swap']);
});
