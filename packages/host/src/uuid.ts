import { createHash, randomBytes } from 'node:crypto';

function format(bytes: Buffer, version: 5 | 7): string {
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | (version << 4), 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** A UUIDv7 (RFC 9562): sorts by the time at which it was created. */
export function uuidv7(now: number = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  return format(bytes, 7);
}

/** A UUIDv5 (RFC 9562): the same namespace (a UUID) and name always give the same id. */
export function uuidv5(namespace: string, name: string): string {
  const hash = createHash('sha1')
    .update(Buffer.from(namespace.replaceAll('-', ''), 'hex'))
    .update(name)
    .digest();
  return format(hash.subarray(0, 16), 5);
}

/** The job id of an occurrence: an agent and the control plane derive the same one, so the occurrence is one job. */
export const occurrenceJobId = (scheduleId: string, due: number): string =>
  uuidv5(scheduleId, new Date(due).toISOString());
