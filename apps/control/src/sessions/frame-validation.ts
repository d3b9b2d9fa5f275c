import { isTooDeep } from '@lastgood/protocol';
import { z } from 'zod';

/** An agent sends all calls of one turn of its event loop as one frame: acknowledgments of a whole window and little else. */
const MAX_CALLS = 128;
const callSchema = z.object({
  id: z.union([z.number(), z.string().max(64)]),
  method: z.enum(['query', 'mutation', 'subscription', 'subscription.stop']),
  // The place of an agent in its commands is durable on both sides; the transport's own cursor is not used (R8).
  params: z.object({ path: z.string().max(64), lastEventId: z.never().optional() }).optional(),
});
const frameSchema = z.union([callSchema, z.array(callSchema).max(MAX_CALLS)]);

/**
 * The JSON codec of one connection. A frame that no agent of ours would send ends the connection (`bad`) and calls nothing: one
 * frame must not start thousands of calls, and malformed calls are not answered one by one.
 */
export function validatingCodec(bad: (reason: string) => void): {
  encode: (data: unknown) => string;
  decode: (data: string | ArrayBuffer | Uint8Array) => unknown;
} {
  const refuse = (reason: string): [] => {
    bad(reason);
    return [];
  };
  return {
    encode: (data) => JSON.stringify(data),
    decode: (data) => {
      if (typeof data !== 'string') return refuse('binary frame');
      let frame: unknown;
      try {
        frame = JSON.parse(data);
      } catch {
        return refuse('not JSON');
      }
      if (Array.isArray(frame) && frame.length > MAX_CALLS) return refuse('too many calls in a frame');
      if (isTooDeep(frame)) return refuse('too deep');
      return frameSchema.safeParse(frame).success ? frame : refuse('not a call');
    },
  };
}
