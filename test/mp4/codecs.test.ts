/** Sample entries of AV1, Opus and G.711, what their configurations say, and the tables of sound in single bytes. */
import { describe, expect, test } from 'vitest';
import type { Track } from '../../src/media.ts';
import { av1Codec } from '../../src/mp4/av1.ts';
import { concatBytes, fullBox, u16, u32, zeros } from '../../src/mp4/box.ts';
import { parseDops, preRollSeconds } from '../../src/mp4/codec.ts';
import { isSingleBytes, readSingleBytes } from '../../src/mp4/pcm.ts';
import { sampleGroups } from '../../src/mp4/sample-groups.ts';
import { checkSampleEntry, parseStsd, writeStsd } from '../../src/mp4/sample-entry.ts';
import type { SampleTable } from '../../src/mp4/tables.ts';
import { errorCodeOf } from '../support/error-code.ts';

/** Text of 0s and 1s (blanks do not count) as bytes, the last one filled up with 0s. */
function bitsOf(text: string): number[] {
  const bits = text.replaceAll(' ', '');
  return Array.from({ length: Math.ceil(bits.length / 8) }, (_, i) =>
    Number.parseInt(bits.slice(i * 8, i * 8 + 8).padEnd(8, '0'), 2),
  );
}

/** A sequence header OBU with its size. */
function sequenceHeader(bits: string): number[] {
  const payload = bitsOf(bits);
  return [0x0a, payload.length, ...payload];
}

/** `av1C` of profile 0, level 4.0 (index 8), tier by `tier`, then the byte of depth and chroma, then OBUs. */
const av1C = (depthAndChroma: string, obus: readonly number[] = [], profile = 0, tier = 0): Uint8Array =>
  Uint8Array.of(0x81, (profile << 5) | 8, ...bitsOf(`${tier} ${depthAndChroma}`), 0, ...obus);

/** The same sequence header up to color_config(): no timing, one operating point, 16x16, all inter tools off. */
const PLAIN = '000 0 0 0 0 00000 000000000000 01000 0 0011 0011 1111 1111 0 000 0000 0 0 1 1 000 ';
/** A reduced still picture: level, 16x16, no tools. */
const STILL = '000 1 1 01000 0011 0011 1111 1111 000 000 ';

describe('AV1 codec strings', () => {
  test.each([
    ['8 bits', av1C('0 0 0 1 1 00'), 'av01.0.08M.08'],
    ['10 bits, high tier', av1C('1 0 0 1 1 00', [], 0, 1), 'av01.0.08H.10'],
    ['12 bits, 4:2:2', av1C('1 1 0 1 0 00', [], 2), 'av01.2.08M.12.0.100.02.02.02.0'],
    ['monochrome without a sequence header', av1C('0 0 1 1 1 00'), 'av01.0.08M.08.1.110.02.02.02.0'],
    [
      'the colours of most cameras',
      av1C('0 0 0 1 1 00', sequenceHeader(STILL + '0 0 1 00000001 00000001 00000001 0')),
      'av01.0.08M.08',
    ],
    [
      'colours not described, full range',
      av1C('0 0 0 1 1 00', sequenceHeader(STILL + '0 0 0 1')),
      'av01.0.08M.08.0.110.02.02.02.1',
    ],
    [
      'HDR, as the binding writes it',
      av1C('1 0 0 1 1 10', sequenceHeader(STILL + '1 0 1 00001001 00010000 00001001 0')),
      'av01.0.08M.10.0.112.09.16.09.0',
    ],
    [
      'sRGB',
      av1C(
        '0 0 0 0 0 00',
        sequenceHeader('001 1 1 01000 0011 0011 1111 1111 000 000 0 1 00000001 00001101 00000000'),
        1,
      ),
      'av01.1.08M.08.0.000.01.13.00.1',
    ],
  ])('%s', (_what, config, expected) => {
    expect(av1Codec('av01', config)).toBe(expected);
  });

  test('all that a sequence header may have before its colours', () => {
    // Timing with uvlc, a decoder model, two operating points (one with tier and delays), frame ids, order hints, and
    // screen content tools without a choice of integer motion vectors.
    const timing = `1 ${'0'.repeat(32)} ${'0'.repeat(32)} 1 00101 1 00011 ${'0'.repeat(32)} 00000 00000`;
    const points = '1 00001 000000000000 01001 1 1 0101 0101 1 1 1111 000000000000 00100 0 0';
    const size = '0011 0011 1111 1111 1 0000 000';
    const tools = '111 1111 1 11 1 0 1 111';
    const header = `000 0 0 ${timing} ${points} ${size} ${tools} 111 0 0 1 00001001 00010000 00001001 1`;
    expect(av1Codec('av01', av1C('0 0 0 1 1 00', sequenceHeader(header)))).toBe('av01.0.08M.08.0.110.09.16.09.1');
    const plain = sequenceHeader(`${PLAIN}0 0 1 00001001 00010000 00001001 1`);
    // Behind a metadata OBU with an extension header.
    const config = av1C('0 0 0 1 1 00', [0x2e, 0x00, 2, 1, 2, ...plain]);
    expect(av1Codec('av01', config)).toBe('av01.0.08M.08.0.110.09.16.09.1');
  });

  test.each([
    ['of another version', Uint8Array.of(0x82, 8, 0, 0)],
    ['too short', Uint8Array.of(0x81, 8)],
    ['with half a sequence header', av1C('0 0 0 1 1 00', [0x0a, 2, 0, 0])],
    ['with an OBU beyond its end', av1C('0 0 0 1 1 00', [0x0a, 90, 0])],
    ['with an endless size', av1C('0 0 0 1 1 00', [0x0a, 255, 255, 255, 255, 255])],
  ])('av1C %s is E_INPUT_FORMAT', (_what, config) => {
    expect(errorCodeOf(() => av1Codec('av01', config))).toBe('E_INPUT_FORMAT');
  });
});

/** `dOps`: version, channels, pre-skip 312, 48 kHz, gain 0, family and what follows it. */
const dOps = (channels: number, family: number, ...mapping: readonly number[]): Uint8Array =>
  concatBytes([Uint8Array.of(0, channels), u16(312), u32(48_000), u16(0), Uint8Array.of(family, ...mapping)]);

describe('Opus', () => {
  test.each([
    ['mono', dOps(1, 0), { channels: 1, streams: 1, coupledStreams: 0 }],
    ['stereo', dOps(2, 0), { channels: 2, streams: 1, coupledStreams: 1 }],
    ['5.1', dOps(6, 1, 4, 2, 0, 4, 1, 2, 3, 5), { channels: 6, streams: 4, coupledStreams: 2 }],
  ])('%s', (_what, config, expected) => {
    expect(parseDops(config)).toEqual({ codec: 'opus', sampleRate: 48_000, ...expected });
  });

  test.each([
    ['of version 1', Uint8Array.of(1, ...dOps(1, 0).subarray(1))],
    ['too short', dOps(1, 0).subarray(0, 10)],
    ['without channels', dOps(0, 0)],
    ['with three channels in one stream', dOps(3, 0)],
    ['without its channel mapping', dOps(3, 1, 2, 1, 0)],
    ['without streams', dOps(1, 1, 0, 0, 0)],
    ['with more stereo streams than streams', dOps(2, 1, 1, 2, 0, 1)],
  ])('dOps %s is E_INPUT_FORMAT', (_what, config) => {
    expect(errorCodeOf(() => parseDops(config))).toBe('E_INPUT_FORMAT');
  });

  test('decoders need 80 ms before they are right, with G.711 nothing', () => {
    expect(['opus', 'alaw', 'ulaw'].map(preRollSeconds)).toEqual([0.08, 0, 0]);
    expect(preRollSeconds('mp4a.40.2')).toBeGreaterThan(0);
  });
});

const PICTURE = { kind: 'video', timescale: 1000, width: 64, height: 36 } as const;
const OPUS: Track = {
  kind: 'audio',
  codec: 'opus',
  timescale: 48_000,
  config: dOps(2, 0),
  sampleRate: 48_000,
  channels: 2,
};
const ULAW: Track = { kind: 'audio', codec: 'ulaw', timescale: 8000, config: zeros(0), sampleRate: 8000, channels: 1 };

describe('sample entries', () => {
  test.each<[string, Track]>([
    ['av01', { ...PICTURE, codec: 'av01.0.08M.08', config: av1C('0 0 0 1 1 00') }],
    ['Opus', OPUS],
    ['ulaw', ULAW],
    ['alaw', { ...ULAW, codec: 'alaw', sampleRate: 16_000, channels: 2 }],
    ['ulaw', { ...ULAW, channels: 4 }],
  ])('%s comes back as it was written', (entry, track) => {
    const read = parseStsd(writeStsd(track).subarray(8), track.kind);
    expect({ ...read.track, timescale: track.timescale }).toEqual(track);
    expect(read.entry).toBe(entry);
    expect(() => checkSampleEntry(track)).not.toThrow();
  });

  test('Opus is accepted as its binding spells it too', () => {
    expect(writeStsd({ ...OPUS, codec: 'Opus' })).toEqual(writeStsd(OPUS));
  });

  test('what cannot be read back is refused', () => {
    expect(errorCodeOf(() => checkSampleEntry({ ...OPUS, config: zeros(3) }))).toBe('E_INPUT_FORMAT');
    expect(errorCodeOf(() => checkSampleEntry({ ...PICTURE, codec: 'av01.0.08M.08', config: zeros(4) }))).toBe(
      'E_INPUT_FORMAT',
    );
    expect(errorCodeOf(() => checkSampleEntry({ ...OPUS, kind: 'video' }))).toBe('E_TRACK');
    expect(errorCodeOf(() => checkSampleEntry({ ...ULAW, codec: 'sowt' }))).toBe('E_TRACK');
  });
});

/** roll_distance of `sgpd`, and sample_count of `sbgp`. */
function roll(samples: number, durationTicks: number): unknown {
  const [sgpd, sbgp] = sampleGroups(OPUS, samples, durationTicks);
  return [sgpd && Buffer.from(sgpd).readInt16BE(24), sbgp && Buffer.from(sbgp).readUInt32BE(20)];
}

describe('the roll group of Opus', () => {
  test('reaches back 80 ms, whatever the packets last', () => {
    expect(roll(500, 500 * 960)).toEqual([-4, 500]);
    expect(roll(9, 9 * 2880)).toEqual([-2, 9]);
    expect(roll(9, 9 * 120)).toEqual([-32, 9]);
    // The last packet is told shorter than the others.
    expect(roll(450, 449 * 960 + 312)).toEqual([-4, 450]);
  });

  test('is only there for Opus with samples', () => {
    expect(sampleGroups(OPUS, 0, 0)).toEqual([]);
    expect(sampleGroups(ULAW, 9, 9 * 160)).toEqual([]);
  });
});

const table = (...values: readonly number[]): Uint8Array => fullBox('any ', 0, 0, ...values.map(u32)).subarray(8);

interface Form {
  readonly size?: number;
  readonly count: number;
  readonly times?: readonly number[];
  /** first_chunk, samples_per_chunk, sample_description_index of each run. */
  readonly chunks: readonly number[];
  readonly offsets: readonly number[];
  readonly channels?: number;
}

const stblOf = ({ size = 1, count, times = [count, 1], chunks }: Form): Map<string, Uint8Array> =>
  new Map([
    ['stsz', table(size, count)],
    ['stts', table(times.length / 2, ...times)],
    ['stsc', table(chunks.length / 3, ...chunks)],
  ]);

function pieces(form: Form, budget = { samples: 1000, bytes: 1_000_000 }): SampleTable {
  const track = { ...ULAW, channels: form.channels ?? 1 };
  return readSingleBytes(stblOf(form), track, Float64Array.from(form.offsets), budget);
}

/** [dts, duration, size, offset] of each sample. */
function rows({ count, dts, duration, size, offset }: SampleTable): number[][] {
  return Array.from({ length: count }, (_, i) =>
    [dts, duration, size, offset].map((column) => column[i] ?? Number.NaN),
  );
}

describe('sound in single bytes is read in pieces of about 20 ms', () => {
  test('of one chunk, the rest with the last of them or on its own', () => {
    expect(rows(pieces({ count: 399, chunks: [1, 399, 1], offsets: [50] }))).toEqual([
      [0, 160, 160, 50],
      [160, 239, 239, 210],
    ]);
    expect(rows(pieces({ count: 400, chunks: [1, 400, 1], offsets: [50] }))).toEqual([
      [0, 160, 160, 50],
      [160, 160, 160, 210],
      [320, 80, 80, 370],
    ]);
  });

  test('no piece reaches from chunk to chunk, though several runs of times and chunks do', () => {
    const form = { count: 250, times: [210, 1, 40, 2], chunks: [1, 100, 1, 2, 80, 1], offsets: [1000, 5000, 3000] };
    expect(rows(pieces(form))).toEqual([
      [0, 100, 100, 1000],
      [100, 80, 80, 5000],
      [180, 30, 30, 3000],
      [210, 80, 40, 3030],
    ]);
  });

  test('of several channels, whatever size old files give them', () => {
    for (const size of [1, 2]) {
      const form = { size, count: 160, chunks: [1, 160, 1], offsets: [8], channels: 2 };
      expect(rows(pieces(form))).toEqual([[0, 160, 320, 8]]);
      expect(isSingleBytes(stblOf(form), { ...ULAW, channels: 2 })).toBe(true);
    }
  });

  test('tables of whole frames, and other codecs, are left as they are', () => {
    const form = { size: 160, count: 9, chunks: [1, 9, 1], offsets: [8] };
    expect(isSingleBytes(stblOf(form), ULAW)).toBe(false);
    expect(isSingleBytes(stblOf({ ...form, size: 1 }), OPUS)).toBe(false);
    expect(isSingleBytes(stblOf({ ...form, size: 0 }), ULAW)).toBe(false);
    expect(isSingleBytes(new Map(), ULAW)).toBe(false);
  });

  test.each([
    ['fewer times than samples', 'E_INPUT_FORMAT', { count: 9, times: [8, 1], chunks: [1, 9, 1], offsets: [8] }],
    ['chunks that hold too few', 'E_INPUT_FORMAT', { count: 9, chunks: [1, 4, 1], offsets: [8, 20] }],
    ['chunks out of order', 'E_INPUT_FORMAT', { count: 9, chunks: [2, 9, 1], offsets: [8, 20] }],
    ['times beyond 32 bits', 'E_INPUT_FORMAT', { count: 9, times: [9, 2 ** 31], chunks: [1, 9, 1], offsets: [8] }],
    ['more bytes than the file', 'E_INPUT_TRUNCATED', { count: 2 ** 31, chunks: [1, 2 ** 31, 1], offsets: [8] }],
    ['too many pieces', 'E_INPUT_UNSUPPORTED', { count: 200_000, chunks: [1, 200_000, 1], offsets: [8] }],
  ])('%s is refused', (_what, expected, form) => {
    expect(errorCodeOf(() => pieces(form))).toBe(expected);
  });

  test('a table that claims more entries than it has', () => {
    const stbl = stblOf({ count: 9, chunks: [1, 9, 1], offsets: [8] }).set('stts', table(5, 9, 1));
    const budget = { samples: 9, bytes: 99 };
    expect(errorCodeOf(() => readSingleBytes(stbl, ULAW, Float64Array.of(8), budget))).toBe('E_INPUT_FORMAT');
  });
});
