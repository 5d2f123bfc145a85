/**
 * Changes bytes as damage and malice do: flipped bits, zeroed blocks, cut ends, pieces moved, doubled and taken from
 * other inputs, numbers at their borders, and words of the format where the target names some.
 */
import type { Random } from './random.ts';

/** Takes bytes and returns others; never changes what it was given. */
export type Mutator = (bytes: Buffer, random: Random) => Buffer;

export interface MutationOptions {
  /** Words of the format. */
  readonly words: readonly Buffer[];
  /** Another input to take pieces from. */
  readonly other: Buffer;
  readonly maxBytes: number;
}

const BORDERS: readonly number[] = [
  ...[0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 127, 128, 255, 256, 4095, 4096, 0x7fff, 0x8000, 0xffff],
  ...[0x1_0000, 0xf_ffff, 0x10_0000, 0x10_0001, 0xff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe],
  0xffff_ffff,
];
const BLOCK_BYTES = 512;
/** How far from a word of the format the numbers lie that belong to it: sizes before it, counts behind it. */
const NEAR_WORD: readonly number[] = [-4, -4, 4, 8, 8, 12, 16, 20];

type Edit = (bytes: Buffer, random: Random, options: MutationOptions) => Buffer;

function changed(bytes: Buffer, change: (copy: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  return copy;
}

const flipBit: Edit = (bytes, random) =>
  changed(bytes, (copy) => {
    const at = random.below(copy.length);
    copy[at] = (copy[at] ?? 0) ^ (1 << random.below(8));
  });

const setByte: Edit = (bytes, random) =>
  changed(bytes, (copy) => {
    copy[random.below(copy.length)] = random.oneIn(2) ? random.pick(BORDERS) & 0xff : random.next() & 0xff;
  });

/** Writes a number of 1, 2, 4 or 8 bytes at a border, or a little off what was there. */
function setNumber(copy: Buffer, at: number, random: Random): void {
  const width = random.pick([1, 2, 4, 4, 4, 8]);
  if (at < 0 || at + width > copy.length) return;
  const old = width === 8 ? copy.readUInt32BE(at + 4) : copy.readUIntBE(at, width);
  const value = random.oneIn(3) ? old + random.below(9) - 4 : random.pick(BORDERS);
  const modulus = 256 ** Math.min(width, 4);
  const wrapped = ((value % modulus) + modulus) % modulus;
  if (width < 8) copy.writeUIntBE(wrapped, at, width);
  else {
    copy.writeUInt32BE(random.pick([0, 0, 1, 0x1f_ffff, 0x20_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]), at);
    copy.writeUInt32BE(wrapped, at + 4);
  }
}

const anyNumber: Edit = (bytes, random) => changed(bytes, (copy) => setNumber(copy, random.below(copy.length), random));

const numberAtWord: Edit = (bytes, random, { words }) => {
  const at = words.length === 0 ? -1 : bytes.indexOf(random.pick(words), random.below(bytes.length));
  return at < 0 ? bytes : changed(bytes, (copy) => setNumber(copy, at + random.pick(NEAR_WORD), random));
};

const zeroBlock: Edit = (bytes, random) =>
  changed(bytes, (copy) => {
    const from = random.below(copy.length);
    copy.subarray(from, from + 1 + random.below(random.oneIn(4) ? BLOCK_BYTES : 16)).fill(0);
  });

const cut: Edit = (bytes, random) => bytes.subarray(0, random.below(bytes.length));

const remove: Edit = (bytes, random) => {
  const from = random.below(bytes.length);
  return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + 1 + random.below(random.oneIn(4) ? 256 : 8))]);
};

function inserted(bytes: Buffer, at: number, piece: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), piece, bytes.subarray(at)]);
}

function pieceOf(bytes: Buffer, random: Random): Buffer {
  const from = random.below(bytes.length);
  return bytes.subarray(from, from + 1 + random.below(random.oneIn(4) ? BLOCK_BYTES : 32));
}

const double: Edit = (bytes, random) => inserted(bytes, random.below(bytes.length + 1), pieceOf(bytes, random));

const overwrite: Edit = (bytes, random) =>
  changed(bytes, (copy) => void pieceOf(bytes, random).copy(copy, random.below(copy.length)));

const splice: Edit = (bytes, random, { other }) =>
  Buffer.concat([bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length))]);

const insertWord: Edit = (bytes, random, { words }) =>
  words.length === 0 ? bytes : inserted(bytes, random.below(bytes.length + 1), random.pick(words));

const putWord: Edit = (bytes, random, { words }) =>
  words.length === 0 ? bytes : changed(bytes, (copy) => void random.pick(words).copy(copy, random.below(copy.length)));

const insertNoise: Edit = (bytes, random) =>
  inserted(
    bytes,
    random.below(bytes.length + 1),
    Uint8Array.from({ length: 1 + random.below(8) }, () => random.next()),
  );

const EDITS: readonly Edit[] = [
  ...[flipBit, flipBit, setByte, setByte, anyNumber, anyNumber, numberAtWord, numberAtWord, numberAtWord],
  ...[zeroBlock, cut, remove, remove, double, overwrite, splice, insertWord, insertWord, putWord, insertNoise],
];

/** One to eight changes, more often few. */
export function mutate(bytes: Buffer, random: Random, options: MutationOptions): Buffer {
  let result = bytes;
  do result = random.pick(EDITS)(result, random, options);
  while (!random.oneIn(2) && result.length > 0);
  return result.subarray(0, options.maxBytes);
}
