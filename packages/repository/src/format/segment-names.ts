import { Failure } from '@lastgood/core';
import type { TargetRef } from '@lastgood/protocol';
import { logsPrefix } from './layout.ts';

const STREAM_ID = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const SEGMENT = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;
const DATA = /^(.+)-[0-9a-f]{64}\.zst(\.age)?$/;
const CLAIM = /^(.+)\.json$/;

/** The prefix of a log stream. Throws BAD_INPUT for what is not an id of one. */
export function streamPrefix(ref: TargetRef, streamId: string): string {
  if (!STREAM_ID.test(streamId)) throw new Failure('BAD_INPUT', `not the id of a log stream: "${streamId}"`);
  return `${logsPrefix(ref)}${streamId}/`;
}

/** Throws BAD_INPUT for what cannot be the name of a segment. */
export function checkSegment(segment: string): void {
  if (!SEGMENT.test(segment)) throw new Failure('BAD_INPUT', `not the name of a segment: "${segment}"`);
}

export const claimName = (segment: string): string => `${segment}.json`;
export const segmentDataName = (segment: string, id: string, suffix: string): string => `${segment}-${id}${suffix}`;

/** What an object below the prefix of a stream is. `list/` is the place of the signed list of segments. */
export function segmentObject(name: string): { readonly type: 'claim' | 'data'; readonly segment: string } | undefined {
  const data = DATA.exec(name)?.[1];
  if (data !== undefined) return { type: 'data', segment: data };
  const claimed = CLAIM.exec(name)?.[1];
  return claimed === undefined || name.includes('/') ? undefined : { type: 'claim', segment: claimed };
}
