import { createHash } from 'node:crypto';

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(',')}}`;
}

/** The text of a manifest with other content and the checksum that belongs to it, as somebody without a key can make it. */
export function resealManifest(text: string, more: object): string {
  const { checksum: _checksum, ...content } = { ...JSON.parse(text), ...more };
  const checksum = createHash('sha256').update(canonical(content)).digest('hex');
  return canonical({ ...content, checksum });
}
