/**
 * Big-endian fields of our own records. 64-bit values are safe integers, split by hand: BigInt would allocate once per
 * frame.
 */

/** Function that continues a CRC32C; handed in, so that this folder needs neither addon nor I/O. */
export type Crc32c = (data: Uint8Array, crc?: number) => number;

const TWO_32 = 0x1_0000_0000;

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Room for a few bytes, of which the caller sets every one: from Node's pool, since a small typed array of its own gets its
 * memory outside V8's heap as soon as it is looked at through a DataView, and thousands a second keep the collector busy.
 */
export function smallBuffer(bytes: number): Uint8Array {
  return Buffer.allocUnsafe(bytes);
}

export function setInt64(view: DataView, at: number, value: number): void {
  view.setInt32(at, Math.floor(value / TWO_32));
  view.setUint32(at + 4, value % TWO_32);
}

export function getInt64(view: DataView, at: number): number {
  return view.getInt32(at) * TWO_32 + view.getUint32(at + 4);
}

/** 16 bytes of a UUID as 32 lower-case hex digits. */
export function hexOfUuid(uuid: Uint8Array): string {
  let hex = '';
  for (let i = 0; i < 16; i++) hex += (uuid[i] ?? 0).toString(16).padStart(2, '0');
  return hex;
}

export function uuidOfHex(hex: string): Uint8Array {
  if (!/^[0-9a-f]{32}$/.test(hex)) throw new RangeError(`not a UUID of 32 hex digits: ${hex}`);
  return Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}
