import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { toolCache } from './tool-cache.ts';

/** The path of promtool: on the path, or where `npm test` keeps the tools that it fetched. Undefined when there is none. */
export function findPromtool(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), join(toolCache(), 'promtool')];
  return folders.map((folder) => join(folder, 'promtool')).find((path) => existsSync(path));
}
