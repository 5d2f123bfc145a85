/** Parsers with mistakes: what the engine must find. */

/** Fails behind three bytes that no single guess hits: one after the other, each reaches new code. */
export function nested(bytes: Uint8Array): void {
  if (bytes[0] !== 0xf5) return;
  if (bytes[1] !== 0x46) return;
  if (bytes[2] !== 0x54) return;
  new DataView(bytes.buffer, 0, 3).getUint32(0);
}

let kept = new Float64Array(0);

/** Believes a count that it was given. */
export function believing(bytes: Uint8Array): void {
  kept = new Float64Array(bytes[0] === 0xff ? 2 ** 26 : 1);
}

export function forget(): void {
  kept = kept.slice(0, 0);
}
