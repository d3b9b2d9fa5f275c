import { ANSWER_SCHEMAS, isTooDeep } from '@lastgood/protocol';
import { z } from 'zod';

const resultSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('data'), data: z.unknown() }),
  z.object({ type: z.literal('started') }),
  z.object({ type: z.literal('stopped') }),
]);
const errorSchema = z.object({
  code: z.int(),
  message: z.string().max(1024),
  data: z.object({ code: z.string().max(64), httpStatus: z.int().optional() }),
});
/** The only frames that a control plane sends: the answer to one call, or its error. */
const frameSchema = z.union([
  z.object({ id: z.int(), result: resultSchema, error: z.undefined().optional(), method: z.undefined().optional() }),
  z.object({ id: z.int(), error: errorSchema, result: z.undefined().optional(), method: z.undefined().optional() }),
]);
type Frame = z.infer<typeof frameSchema>;
const callSchema = z.object({
  id: z.int(),
  method: z.string(),
  params: z.object({ path: z.string() }).optional(),
});
/** The client library passes this over: it answers no call. */
const NOTHING = { id: null, result: { type: 'stopped' } };

export interface ValidatingCodec {
  encode(data: unknown): string;
  decode(data: string | ArrayBuffer | Uint8Array): unknown;
}

/** The answers that a connection waits for, and what each may be. */
class OpenCalls {
  readonly #paths = new Map<number, string>();

  sent(message: unknown): void {
    for (const each of [message].flat()) {
      const call = callSchema.safeParse(each);
      if (call.success && call.data.params !== undefined) this.#paths.set(call.data.id, call.data.params.path);
    }
  }

  /** The frame with its answer parsed; undefined for one that answers no open call, or with something else than an answer to it. */
  received(frame: Frame): Frame | undefined {
    const path = this.#paths.get(frame.id);
    if (path === undefined) return undefined;
    const isSubscription = path === 'commands';
    const { result } = frame;
    if (result === undefined || result.type === 'stopped' || !isSubscription) this.#paths.delete(frame.id);
    // A command is parsed where it is journaled (readCommand).
    if (result === undefined || isSubscription) return frame;
    if (result.type !== 'data') return undefined;
    const answer = ANSWER_SCHEMAS[path]?.safeParse(result.data);
    return answer?.success ? { id: frame.id, result: { type: 'data', data: answer.data } } : undefined;
  }
}

/** The frame that a text holds; undefined for anything else. */
function parseFrame(data: string | ArrayBuffer | Uint8Array): Frame | undefined {
  if (typeof data !== 'string') return undefined;
  try {
    const value: unknown = JSON.parse(data);
    return isTooDeep(value) ? undefined : frameSchema.safeParse(value).data;
  } catch {
    return undefined;
  }
}

/**
 * The JSON codec of one connection, and the gate for everything that a server sends. Only answers to open calls pass, each parsed with
 * its own schema. Anything else calls `onBad`, which has to end the session; nothing passes after it, and nothing is thrown: the
 * client library would end the process.
 */
export function validatingCodec(onBad: () => void): ValidatingCodec {
  const calls = new OpenCalls();
  let isBad = false;
  return {
    encode: (data) => {
      calls.sent(data);
      return JSON.stringify(data);
    },
    decode: (data) => {
      if (isBad) return NOTHING;
      const frame = parseFrame(data);
      const answer = frame === undefined ? undefined : calls.received(frame);
      if (answer !== undefined) return answer;
      isBad = true;
      onBad();
      return NOTHING;
    },
  };
}
