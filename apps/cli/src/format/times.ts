import { duration } from '@lastgood/core/format';
import type { BackupView } from '@lastgood/protocol';

/** How long ago an instant was. */
export const ago = (at: string | number): string => `${duration(Math.max(0, Date.now() - new Date(at).getTime()))} ago`;

/** The standing verdict on a backup. */
export const verifiedText = (verified: BackupView['verified']): string =>
  verified === null ? 'never' : `${verified.passed ? `level ${verified.level}` : 'FAILED'}, ${ago(verified.at)}`;
