/** What sequence parameter sets say, bit by bit: sizes, cropping, colours, numbers; and what contradicts itself. */
import { describe, expect, test } from 'vitest';
import {
  avcPictureFormat,
  avcPpsNumber,
  avcSpsNumber,
  hevcPictureFormat,
  hevcSpsNumber,
} from '../../src/mp4/sequence-parameters.ts';
import { errorCodeOf } from '../support/error-code.ts';

/** Bits as text, Exp-Golomb codes of numbers between them. */
function bytesOf(header: readonly number[], ...parts: readonly (string | number)[]): Uint8Array {
  const bits = parts.map((part) => (typeof part === 'string' ? part.replaceAll(' ', '') : exponential(part))).join('');
  const bytes = Array.from({ length: Math.ceil((bits.length + 1) / 8) }, (_, i) =>
    Number.parseInt(`${bits}1`.slice(i * 8, i * 8 + 8).padEnd(8, '0'), 2),
  );
  return Uint8Array.from([...header, ...escapedBytes(bytes)]);
}

/** ue(v) */
function exponential(value: number): string {
  const binary = (value + 1).toString(2);
  return '0'.repeat(binary.length - 1) + binary;
}

/** With emulation prevention. */
function escapedBytes(bytes: readonly number[]): number[] {
  const escaped: number[] = [];
  for (const byte of bytes) {
    if (byte <= 3 && escaped.at(-1) === 0 && escaped.at(-2) === 0) escaped.push(3);
    escaped.push(byte);
  }
  return escaped;
}

const byte = (value: number) => value.toString(2).padStart(8, '0');

interface Avc {
  readonly profile?: number;
  readonly number?: number;
  /** Behind the number: of high profiles. */
  readonly color?: readonly (string | number)[];
  readonly order?: readonly (string | number)[];
  /** In macroblocks; for interlaced pictures rows of pairs. */
  readonly size?: readonly [width: number, height: number];
  readonly interlaced?: boolean;
  readonly crop?: readonly [number, number, number, number];
}

function avcSps({ profile = 66, number = 0, color = [], order = [2], size = [20, 15], interlaced, crop }: Avc = {}) {
  return bytesOf(
    [0x67],
    ...[`${byte(profile)} 00000000 ${byte(30)}`, number, ...color, 0, ...order, 1, '0'],
    ...[size[0] - 1, size[1] - 1, interlaced ? '0 0' : '1', '1'],
    ...(crop === undefined ? ['0'] : ['1', ...crop]),
    '0',
  );
}

describe('an SPS of H.264', () => {
  test.each<[string, Avc, { width: number; height: number; chromaFormat?: number; lumaBits?: number }]>([
    ['a plain one', {}, { width: 320, height: 240 }],
    ['1080 lines', { size: [120, 68], crop: [0, 0, 0, 4] }, { width: 1920, height: 1080 }],
    ['1080 interlaced', { size: [120, 34], interlaced: true, crop: [0, 0, 0, 2] }, { width: 1920, height: 1080 }],
    ['cut on all sides', { crop: [1, 2, 3, 4] }, { width: 314, height: 226 }],
    [
      '4:2:2 of 10 bits',
      { profile: 122, color: [2, 2, 2, '0 0'], crop: [1, 0, 1, 0] },
      { width: 318, height: 239, chromaFormat: 2, lumaBits: 10 },
    ],
    [
      'monochrome',
      { profile: 100, color: [0, 0, 0, '0 0'], crop: [1, 0, 1, 0] },
      { width: 319, height: 239, chromaFormat: 0 },
    ],
    [
      '4:4:4 with colour planes apart',
      { profile: 244, color: [3, '0', 0, 0, '0 0'], crop: [1, 0, 0, 1] },
      { width: 319, height: 239, chromaFormat: 3 },
    ],
    [
      'scaling lists: one of 16 that ends at once, one of 64 that runs on, six more that are not there',
      { profile: 100, color: [1, 0, 0, '0 1', '1', 16, '00000', '1', ...Array.from({ length: 64 }, () => 0), '0'] },
      { width: 320, height: 240 },
    ],
    ['an order of pictures with offsets', { order: [1, '0', 3, 4, 2, 5, 6] }, { width: 320, height: 240 }],
    ['bytes that need emulation prevention', { number: 31, size: [4096, 1] }, { width: 65_535, height: 16 }],
  ])('%s', (what, fields, expected) => {
    const sps = avcSps(what.startsWith('bytes') ? { ...fields, size: [4095, 1] } : fields);
    const size = what.startsWith('bytes') ? { ...expected, width: 65_520 } : expected;
    expect(avcPictureFormat(sps)).toMatchObject(size);
    expect(avcSpsNumber(sps)).toBe(fields.number ?? 0);
  });

  test.each([
    ['no bytes', Uint8Array.of()],
    ['a header only', Uint8Array.of(0x67)],
    ['only zeros', Uint8Array.of(0x67, 66, 0, 30, 0, 0, 0, 0, 0, 0)],
    ['cut off', avcSps().subarray(0, 6)],
    ['more is cut off than there is', avcSps({ crop: [200, 200, 0, 0] })],
    ['too wide', avcSps({ size: [5000, 15] })],
    ['colours of a fifth format', avcSps({ profile: 100, color: [4, 0, 0, '0 0'] })],
    ['50 bits', avcSps({ profile: 100, color: [1, 42, 0, '0 0'] })],
  ])('%s is E_INPUT_FORMAT', (_what, sps) => {
    expect(errorCodeOf(() => avcPictureFormat(sps))).toBe('E_INPUT_FORMAT');
  });

  test('numbers end', () => {
    expect(errorCodeOf(() => avcSpsNumber(avcSps({ number: 32 })))).toBe('E_INPUT_FORMAT');
    expect(avcPpsNumber(bytesOf([0x68], 255, 0, '0'))).toBe(255);
    expect(errorCodeOf(() => avcPpsNumber(bytesOf([0x68], 256, 0, '0')))).toBe('E_INPUT_FORMAT');
  });
});

/** `layers`: sps_max_sub_layers_minus1, and which of them tell profile and level. */
function hevcSps(
  layers: number,
  present: readonly string[],
  crop: readonly number[],
  chroma: readonly (string | number)[],
) {
  const sub = layers === 0 ? [] : [...present, '00'.repeat(8 - layers)];
  const told = present.map((flags) => '1'.repeat((flags[0] === '1' ? 88 : 0) + (flags[1] === '1' ? 8 : 0)));
  return bytesOf(
    [0x42, 0x01],
    ...[`0000 ${layers.toString(2).padStart(3, '0')} 1`, ...Array.from({ length: 12 }, (_, i) => byte(i + 1))],
    ...[...sub, ...told, 3, ...chroma, 320, 184],
    ...(crop.length === 0 ? ['0'] : ['1', ...crop]),
    ...[2, 2],
  );
}

describe('an SPS of H.265', () => {
  test.each([
    ['a plain one', hevcSps(0, [], [], [1]), { width: 320, height: 184, temporalLayers: 1 }],
    ['cut below', hevcSps(0, [], [0, 0, 0, 2], [1]), { width: 320, height: 180 }],
    ['4:2:2, cut', hevcSps(0, [], [1, 0, 1, 2], [2]), { width: 318, height: 181, chromaFormat: 2 }],
    ['4:4:4, cut', hevcSps(0, [], [1, 0, 1, 2], [3, '1']), { width: 319, height: 181, chromaFormat: 3 }],
    ['layers that tell', hevcSps(3, ['11', '01', '10'], [], [1]), { width: 320, height: 184, temporalLayers: 4 }],
  ])('%s', (_what, sps, expected) => {
    const { profileTierLevel, ...format } = hevcPictureFormat(sps);
    expect(format).toMatchObject({ lumaBits: 10, chromaBits: 10, temporalIdNested: true, ...expected });
    expect([...profileTierLevel]).toEqual(Array.from({ length: 12 }, (_, i) => i + 1));
    expect(hevcSpsNumber(sps)).toBe(3);
  });

  test.each([
    ['eight layers', hevcSps(7, [], [], [1])],
    ['cut off', hevcSps(0, [], [], [1]).subarray(0, 16)],
    ['nothing left of the picture', hevcSps(0, [], [200, 200, 0, 0], [1])],
  ])('%s is E_INPUT_FORMAT', (_what, sps) => {
    expect(errorCodeOf(() => hevcPictureFormat(sps))).toBe('E_INPUT_FORMAT');
  });
});
