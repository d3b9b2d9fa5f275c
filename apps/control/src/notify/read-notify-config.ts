import { type NotifyConfig, parseNotifyConfig } from './notify-config.ts';
import { readNamedFile } from './secret-file.ts';

/** Reads a notification file. Throws CONFIG_INVALID. */
export const readNotifyConfig = async (file: string): Promise<NotifyConfig> =>
  parseNotifyConfig(await readNamedFile(file), file);
