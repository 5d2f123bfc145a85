/**
 * Builds the records of a segment for the scan tests, from the layout in docs/format.md and with no product code but
 * CRC32C, so that a mistake in the product's writer cannot hide one in the scan.
 */
import { twin } from '../../src/native.ts';

export const TYPE = { head: 1, configuration: 2, anchor: 3, frame: 4, group: 5, void: 6, end: 7, unknown: 99 } as const;

export const SEED = 0x12345678;

/** One record: 32 bytes of delimiter, then the payload. */
export function record(type: number, payload: Uint8Array, { seed = SEED, dts = 0n } = {}): Buffer {
  const out = Buffer.alloc(32 + payload.length);
  out.writeUInt32BE(0xf546544d, 0);
  out[4] = type;
  out.writeUInt32BE(payload.length, 8);
  out.writeBigInt64BE(dts, 16);
  out.writeUInt32BE(twin.crc32c(payload), 24);
  out.writeUInt32BE(twin.crc32c(out.subarray(0, 28), seed), 28);
  out.set(payload, 32);
  return out;
}

/** The payload of a group whose frames have these sizes. */
export function groupPayload(sizes: readonly number[]): Buffer {
  const table = Buffer.alloc(4 + 8 * sizes.length);
  table.writeUInt32BE(sizes.length, 0);
  for (const [i, size] of sizes.entries()) {
    table.writeUInt32BE(size, 4 + 8 * i);
    table.writeUInt32BE(1024, 8 + 8 * i);
  }
  return Buffer.concat([
    table,
    noise(
      sizes.reduce((sum, size) => sum + size, 0),
      7,
    ),
  ]);
}

/** Reproducible bytes that look random. */
export function noise(length: number, seed: number): Buffer {
  const out = Buffer.alloc(length);
  let state = (seed * 2654435761 + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    out[i] = state;
  }
  return out;
}
