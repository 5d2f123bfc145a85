/**
 * CRC32C (Castagnoli, RFC 3720 B.4) by slicing-by-8 tables. Twin of native/crc32c.cc.
 */

/** 0x1EDC6F41 with its bits reversed. */
const POLYNOMIAL = 0x82f63b78;
const SLICES = 8;

/** SLICES tables of 256 entries, one behind the other; table t is table 0 followed by t zero bytes. */
function makeTables(): Int32Array {
  const tables = new Int32Array(SLICES * 256);
  for (let i = 0; i < 256; i++) {
    let crc = i;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
    tables[i] = crc;
  }
  for (let i = 256; i < tables.length; i++) {
    const before = tables[i - 256] as number;
    tables[i] = (before >>> 8) ^ (tables[before & 0xff] as number);
  }
  return tables;
}

const TABLES = makeTables();

/** CRC32C of `data`, continuing from `crc`; unsigned 32 bits. */
export function crc32c(data: Uint8Array, crc: number): number {
  // Every index below is in range by construction.
  const t = TABLES;
  let c = ~crc;
  let i = 0;
  for (const end = data.length - 7; i < end; i += 8) {
    c ^= data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24);
    c =
      t[1792 + (c & 0xff)]! ^
      t[1536 + ((c >>> 8) & 0xff)]! ^
      t[1280 + ((c >>> 16) & 0xff)]! ^
      t[1024 + (c >>> 24)]! ^
      t[768 + data[i + 4]!]! ^
      t[512 + data[i + 5]!]! ^
      t[256 + data[i + 6]!]! ^
      t[data[i + 7]!]!;
  }
  for (; i < data.length; i++) c = (c >>> 8) ^ t[(c ^ data[i]!) & 0xff]!;
  return ~c >>> 0;
}
