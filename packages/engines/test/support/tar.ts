export interface TarInput {
  readonly path: string;
  readonly type?: string;
  readonly content?: Buffer;
  readonly linkTarget?: string;
  /** The size that the header states, when it is not that of the content. */
  readonly sizeBytes?: number;
}

/** One entry of a tar archive as PostgreSQL writes it, with whatever name and type a test asks for. */
export function tarEntry({
  path,
  type = '0',
  content = Buffer.alloc(0),
  linkTarget = '',
  sizeBytes,
}: TarInput): Buffer {
  const header = Buffer.alloc(512);
  const size = sizeBytes ?? content.length;
  header.write(path, 0, 'utf8');
  header.write('0000600\0', 100);
  if (size < 8 * 2 ** 30) header.write(size.toString(8).padStart(11, '0'), 124);
  else {
    header.writeUInt8(0x80, 124);
    header.writeUIntBE(size, 130, 6);
  }
  header.write('        ', 148);
  header.write(type, 156);
  header.write(linkTarget, 157);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return Buffer.concat([header, content, Buffer.alloc((512 - (content.length % 512)) % 512)]);
}

export const tarOf = (entries: readonly TarInput[]): Buffer =>
  Buffer.concat([...entries.map(tarEntry), Buffer.alloc(1024)]);
