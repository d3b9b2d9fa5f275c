/** The client library can handle only these frames. Any other frame makes it throw, which would end the process. */
const isMessage = (frame: unknown): boolean =>
  typeof frame === 'object' && frame !== null && !Array.isArray(frame) && ('id' in frame || 'method' in frame);

/** The JSON value of a text frame; undefined for a binary frame and for invalid JSON. */
function parseFrame(data: string | ArrayBuffer | Uint8Array): unknown {
  if (typeof data !== 'string') return undefined;
  try {
    return JSON.parse(data);
  } catch {
    return undefined;
  }
}

/** A JSON codec that never throws on what a proxy or another server sends: it calls `onBad`, and the session ends. */
export function safeJsonCodec(onBad: () => void): {
  encode: (data: unknown) => string;
  decode: (data: string | ArrayBuffer | Uint8Array) => unknown;
} {
  return {
    encode: (data) => JSON.stringify(data),
    decode: (data) => {
      const frame = parseFrame(data);
      if (isMessage(frame)) return frame;
      onBad();
      return { id: null, result: { type: 'stopped' } };
    },
  };
}
