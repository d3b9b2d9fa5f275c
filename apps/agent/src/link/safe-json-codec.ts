/** What the library can look into: anything else ends the process in there. */
const isMessage = (frame: unknown): boolean =>
  typeof frame === 'object' && frame !== null && !Array.isArray(frame) && ('id' in frame || 'method' in frame);

/** JSON that never throws on what a proxy or a wrong server sends: the frame is reported and the session ends (the library would end the process). */
export function safeJsonCodec(onBad: () => void): {
  encode: (data: unknown) => string;
  decode: (data: string | ArrayBuffer | Uint8Array) => unknown;
} {
  return {
    encode: (data) => JSON.stringify(data),
    decode: (data) => {
      try {
        if (typeof data !== 'string') throw new TypeError('binary frame');
        const frame: unknown = JSON.parse(data);
        if (!isMessage(frame)) throw new TypeError('no message');
        return frame;
      } catch {
        onBad();
        return { id: null, result: { type: 'stopped' } };
      }
    },
  };
}
