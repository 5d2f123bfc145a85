/**
 * Boxes of the ISO base media file format (ISO/IEC 14496-12 section 4.2): finding them in bytes, reading their
 * fields, and building them.
 *
 * It is not a parser of any one box, and it does no I/O.
 *
 * Invariants: nothing is read outside the given bytes; no size found in the bytes is allocated; nothing recurses
 * (callers descend along a fixed path). What makes no sense is a FootageError E_INPUT_FORMAT.
 */
import { FootageError } from '../errors.ts';

/** One box inside a byte array. `body` shares the memory of the bytes it was found in. */
export interface Box {
  /** Four characters, e.g. `moov`. */
  readonly type: string;
  /** Position of the first byte of the header. */
  readonly start: number;
  /** Position behind the last byte. */
  readonly end: number;
  /** Everything behind the header (for `uuid` that includes the 16 bytes of extended type). */
  readonly body: Uint8Array;
}

/** What the first bytes of a box say. `size` covers the header; 0 means "to the end of what contains it". */
export interface BoxHeader {
  readonly type: string;
  readonly headerBytes: number;
  readonly size: number;
}

/** More children than any real container has; a hostile file ends here. */
const MAX_CHILDREN = 10_000;

const UINT32 = 0x1_0000_0000;

/** A DataView over exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Four bytes as a type; bytes above 0x7F (QuickTime's ©) come out as Latin-1. */
export function fourccAt(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(bytes[at] ?? 0, bytes[at + 1] ?? 0, bytes[at + 2] ?? 0, bytes[at + 3] ?? 0);
}

/** A type fit for a message: `avc1`, or hexadecimal when it is not printable. */
export function printableFourcc(type: string): string {
  if (/^[\x20-\x7e\xa9]{4}$/.test(type)) return type;
  return `0x${Array.from(type, (c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join('')}`;
}

/**
 * Reads the header of a box at the beginning of `bytes` (4.2.2: 32-bit size, or 1 and a 64-bit largesize).
 * Returns undefined if there are too few bytes to tell. A size smaller than its header is E_INPUT_FORMAT.
 */
export function parseBoxHeader(bytes: Uint8Array): BoxHeader | undefined {
  if (bytes.length < 8) return undefined;
  const view = viewOf(bytes);
  const type = fourccAt(bytes, 4);
  const size32 = view.getUint32(0);
  if (size32 !== 1) return checkedHeader(type, 8, size32);
  if (bytes.length < 16) return undefined;
  return checkedHeader(type, 16, view.getUint32(8) * UINT32 + view.getUint32(12));
}

function checkedHeader(type: string, headerBytes: number, size: number): BoxHeader {
  const toTheEnd = size === 0 && headerBytes === 8;
  if (!toTheEnd && size < headerBytes) {
    throw damaged(`a box '${printableFourcc(type)}' claims ${size} bytes, fewer than its own header`);
  }
  return { type, headerBytes, size };
}

/** Iterates the boxes in `bytes`, the body of the container named `what`. Up to 7 bytes of padding may end it. */
export function* boxes(bytes: Uint8Array, what: string): Generator<Box, void, undefined> {
  let start = 0;
  for (let count = 0; bytes.length - start >= 8; count++) {
    if (count === MAX_CHILDREN) throw damaged(`'${what}' holds more than ${MAX_CHILDREN} boxes`);
    const header = parseBoxHeader(bytes.subarray(start, start + 16));
    const size = header?.size === 0 ? bytes.length - start : (header?.size ?? Infinity);
    if (header === undefined || size > bytes.length - start) {
      throw damaged(`a box '${printableFourcc(fourccAt(bytes, start + 4))}' reaches behind the end of '${what}'`);
    }
    const end = start + size;
    yield { type: header.type, start, end, body: bytes.subarray(start + header.headerBytes, end) };
    start = end;
  }
}

/** The bodies of the boxes in a container by type; of several boxes of one type, the first. */
export function childBodies(bytes: Uint8Array, what: string): Map<string, Uint8Array> {
  const found = new Map<string, Uint8Array>();
  for (const { type, body } of boxes(bytes, what)) if (!found.has(type)) found.set(type, body);
  return found;
}

/** An E_INPUT_FORMAT error: the bytes contradict the format. */
export function damaged(detail: string): FootageError {
  return new FootageError('E_INPUT_FORMAT', `The MP4 structure is damaged: ${detail}.`);
}

/** Reads big-endian fields one after the other; going behind the end is E_INPUT_FORMAT. */
export class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;

  /** `what` names the box in messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
    this.#what = what;
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Hops over `length` bytes and returns where they began. */
  skip(length: number): number {
    if (length > this.remaining) throw damaged(`'${this.#what}' is too short`);
    const at = this.#at;
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.skip(1));
  }

  u16(): number {
    return this.#view.getUint16(this.skip(2));
  }

  i16(): number {
    return this.#view.getInt16(this.skip(2));
  }

  u24(): number {
    return this.u8() * 0x1_0000 + this.u16();
  }

  u32(): number {
    return this.#view.getUint32(this.skip(4));
  }

  i32(): number {
    return this.#view.getInt32(this.skip(4));
  }

  /** Unsigned 64 bits; beyond 2^53 − 1 is E_INPUT_FORMAT. */
  u64(): number {
    return this.#safe(this.u32() * UINT32 + this.u32());
  }

  /** Signed 64 bits; beyond ±(2^53 − 1) is E_INPUT_FORMAT. */
  i64(): number {
    return this.#safe(this.i32() * UINT32 + this.u32());
  }

  f64(): number {
    return this.#view.getFloat64(this.skip(8));
  }

  /** The next `length` bytes, shared with the source. */
  take(length: number): Uint8Array {
    const at = this.skip(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Everything left, shared with the source. */
  rest(): Uint8Array {
    return this.take(this.remaining);
  }

  #safe(value: number): number {
    if (!Number.isSafeInteger(value)) throw damaged(`a number in '${this.#what}' exceeds 2^53`);
    return value;
  }
}

/** The parts one after the other, in a new array. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * A box around the parts. Its size must fit 32 bits (RangeError): what is larger is never built in memory, see
 * `boxHeader` for its header.
 */
export function box(type: string, ...parts: readonly Uint8Array[]): Uint8Array {
  let size = 8;
  for (const part of parts) size += part.length;
  return concatBytes([u32(size), fourcc(type), ...parts]);
}

/** A box that begins with version and flags (ISO/IEC 14496-12 4.2.2, FullBox). */
export function fullBox(type: string, version: number, flags: number, ...parts: readonly Uint8Array[]): Uint8Array {
  return box(type, u8(version), u24(flags), ...parts);
}

/** The header alone of a box with a body of `bodyBytes`: 8 bytes, or 16 with a largesize if 32 bits do not hold it. */
export function boxHeader(type: string, bodyBytes: number): Uint8Array {
  if (bodyBytes + 8 < UINT32) return concatBytes([u32(bodyBytes + 8), fourcc(type)]);
  return concatBytes([u32(1), fourcc(type), u64(bodyBytes + 16)]);
}

/** Four Latin-1 characters as bytes. */
export function fourcc(type: string): Uint8Array {
  if (type.length !== 4) throw new RangeError(`not a four-character code: ${type}`);
  return Uint8Array.from(type, (c) => c.charCodeAt(0));
}

export function zeros(length: number): Uint8Array {
  return new Uint8Array(length);
}

export function u8(n: number): Uint8Array {
  return Uint8Array.of(inRange(n, 0, 0xff));
}

export function u16(n: number): Uint8Array {
  inRange(n, 0, 0xffff);
  return Uint8Array.of(n >>> 8, n & 0xff);
}

export function i16(n: number): Uint8Array {
  inRange(n, -0x8000, 0x7fff);
  return u16(n & 0xffff);
}

export function u24(n: number): Uint8Array {
  inRange(n, 0, 0xff_ffff);
  return Uint8Array.of(n >>> 16, (n >>> 8) & 0xff, n & 0xff);
}

export function u32(n: number): Uint8Array {
  inRange(n, 0, UINT32 - 1);
  return Uint8Array.of(n >>> 24, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
}

export function i32(n: number): Uint8Array {
  inRange(n, -0x8000_0000, 0x7fff_ffff);
  return u32(n < 0 ? n + UINT32 : n);
}

export function u64(n: number): Uint8Array {
  inRange(n, 0, Number.MAX_SAFE_INTEGER);
  return concatBytes([u32(Math.floor(n / UINT32)), u32(n % UINT32)]);
}

export function i64(n: number): Uint8Array {
  inRange(n, Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);
  const bytes = new Uint8Array(8);
  viewOf(bytes).setBigInt64(0, BigInt(n));
  return bytes;
}

/** A writer never truncates: a value that does not fit its field is a RangeError. */
function inRange(n: number, low: number, high: number): number {
  if (Number.isInteger(n) && n >= low && n <= high) return n;
  throw new RangeError(`${n} does not fit a field of ${low}..${high}`);
}
