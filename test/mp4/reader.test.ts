/** Boxes, sample entries and sample tables: every form the format allows, and bytes that make no sense. */
import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import type { Track } from '../../src/media.ts';
import {
  box,
  boxHeader,
  boxes,
  concatBytes,
  fourcc,
  fullBox,
  i32,
  i64,
  u16,
  u24,
  u32,
  u64,
  u8,
  zeros,
} from '../../src/mp4/box.ts';
import { avcCodec, hevcCodec, parseAudioSpecificConfig } from '../../src/mp4/codec.ts';
import { readMovie } from '../../src/mp4/reader.ts';
import type { Movie, MovieTrack } from '../../src/mp4/reader.ts';
import { parseStsd, writeSampleEntry, writeStsd } from '../../src/mp4/sample-entry.ts';
import { locateMovie } from '../../src/mp4/top-level.ts';
import { errorCodeOf } from '../support/error-code.ts';
import { mediaFile } from '../support/media.ts';

const AVCC = Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0);
const VIDEO: Track = { kind: 'video', codec: 'avc1.640028', timescale: 1000, config: AVCC, width: 64, height: 36 };
/** ES_Descriptor of AAC-LC, 48 kHz, stereo, as FFmpeg writes it but with sizes of one byte. */
const ESDS = Uint8Array.of(
  ...[0, 0, 0, 0, 3, 25, 0, 1, 0, 4, 17, 0x40, 0x15],
  ...[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 2, 0x11, 0x90, 6, 1, 2],
);
const AUDIO: Track = {
  kind: 'audio',
  codec: 'mp4a.40.2',
  timescale: 48_000,
  config: ESDS,
  sampleRate: 48_000,
  channels: 2,
};

/** Bodies of the sample tables of a hand-built track, with their types. */
type Tables = Readonly<Record<string, Uint8Array>>;

const words = (...values: readonly number[]): Uint8Array => concatBytes(values.map(u32));
/** A table of the given version whose entries are 32-bit words. */
const table = (version: number, ...values: readonly number[]): Uint8Array =>
  concatBytes([u8(version), u24(0), words(...values)]);

/** Three samples of 10, 20 and 30 bytes in one chunk at byte 100. */
const THREE: Tables = {
  stsd: writeStsd(VIDEO).subarray(8),
  stts: table(0, 1, 3, 40),
  stsz: table(0, 0, 3, 10, 20, 30),
  stsc: table(0, 1, 1, 3, 1),
  stco: table(0, 1, 100),
};

interface TrackForm {
  readonly version?: 0 | 1;
  readonly handler?: string;
  readonly edits?: Uint8Array;
  readonly tables?: Tables;
}

function trak({ version = 0, handler = 'vide', edits, tables = THREE }: TrackForm = {}): Uint8Array {
  const times = version === 1 ? zeros(16) : zeros(8);
  const stbl = Object.entries(tables).map(([type, body]) => box(type, body));
  const minf = box('minf', box('stbl', ...stbl));
  const hdlr = fullBox('hdlr', 0, 0, u32(0), fourcc(handler), zeros(13));
  return box(
    'trak',
    fullBox('tkhd', version, 3, times, u32(7), zeros(60)),
    ...(edits === undefined ? [] : [box('edts', box('elst', edits))]),
    box('mdia', fullBox('mdhd', version, 0, times, u32(1000), zeros(12)), hdlr, minf),
  );
}

function moovOf(...traks: readonly Uint8Array[]): Uint8Array {
  return concatBytes([fullBox('mvhd', 0, 0, zeros(8), u32(600), zeros(80)), ...traks]);
}

function readOne(form: TrackForm, fileSize?: number): MovieTrack {
  const track = readMovie(moovOf(trak(form)), fileSize).tracks[0];
  if (track === undefined) throw new Error('no track');
  return track;
}

/** Without one table, and with others. */
function tables(without: string, others: Tables): Tables {
  return { ...Object.fromEntries(Object.entries(THREE).filter(([type]) => type !== without)), ...others };
}

const readFrom =
  (bytes: Uint8Array) =>
  async (offset: number, length: number): Promise<Uint8Array> =>
    bytes.subarray(offset, offset + length);

describe('boxes', () => {
  test('32-bit, 64-bit and open sizes, and a little padding', () => {
    const long = concatBytes([u32(1), fourcc('wide'), u64(18), u16(0xabcd)]);
    const bytes = concatBytes([box('free', u8(1)), long, zeros(4)]);
    const found = [...boxes(bytes, 'test')].map(({ type, start, end, body }) => [type, start, end, [...body]]);
    expect(found).toEqual([
      ['free', 0, 9, [1]],
      ['wide', 9, 27, [0xab, 0xcd]],
    ]);
    const open = concatBytes([u32(0), fourcc('mdat'), u16(7)]);
    expect([...boxes(open, 'test')][0]?.body.length).toBe(2);
  });

  test.each([
    ['a size beyond the container', concatBytes([u32(99), fourcc('free')])],
    ['a size below the header', concatBytes([u32(7), fourcc('free')])],
    ['a largesize below the header', concatBytes([u32(1), fourcc('free'), u64(15)])],
    ['a largesize of 2^63', concatBytes([u32(1), fourcc('free'), u32(0x8000_0000), u32(0)])],
    ['a largesize that is not there', concatBytes([u32(1), fourcc('free')])],
    ['ten thousand and one boxes', concatBytes(Array.from({ length: 10_001 }, () => box('free')))],
  ])('%s is E_INPUT_FORMAT', (_what, bytes) => {
    expect(errorCodeOf(() => [...boxes(bytes, 'test')])).toBe('E_INPUT_FORMAT');
  });

  test('writers refuse what does not fit', () => {
    expect(boxHeader('mdat', 8)).toEqual(concatBytes([u32(16), fourcc('mdat')]));
    expect(boxHeader('mdat', 2 ** 32)).toEqual(concatBytes([u32(1), fourcc('mdat'), u64(2 ** 32 + 16)]));
    expect([...i32(-2)]).toEqual([255, 255, 255, 254]);
    expect([...i64(-1)]).toEqual([255, 255, 255, 255, 255, 255, 255, 255]);
    for (const bad of [() => u32(2 ** 32), () => u32(-1), () => u16(1.5), () => u64(2 ** 53), () => fourcc('abc')]) {
      expect(bad).toThrow(RangeError);
    }
  });
});

describe('codec strings', () => {
  test('H.264 and H.265', () => {
    expect(avcCodec('avc3', Uint8Array.of(1, 0x42, 0xe0, 0x1e, 0xff, 0xe0, 0))).toBe('avc3.42e01e');
    const main = Uint8Array.of(1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93, ...zeros(10));
    expect(hevcCodec('hvc1', main)).toBe('hvc1.1.6.L93.B0');
    // Profile space 2, high tier, all constraint bytes.
    const odd = Uint8Array.of(1, 0xa4, 0x80, 0, 0, 1, 0x9d, 0x08, 0, 0, 0, 1, 150, ...zeros(10));
    expect(hevcCodec('hev1', odd)).toBe('hev1.B4.80000001.H150.9D.8.0.0.0.1');
    expect(errorCodeOf(() => avcCodec('avc1', Uint8Array.of(1, 2)))).toBe('E_INPUT_FORMAT');
    expect(errorCodeOf(() => hevcCodec('hvc1', zeros(22)))).toBe('E_INPUT_FORMAT');
  });

  test.each([
    ['AAC-LC', [0x11, 0x90], { objectType: 2, sampleRate: 48_000, channels: 2 }],
    ['HE-AAC, signalled first', [0x2b, 0x09, 0x88, 0], { objectType: 5, sampleRate: 48_000, channels: 1 }],
    ['HE-AAC v2, signalled first', [0xeb, 0x09, 0x88, 0], { objectType: 29, sampleRate: 48_000, channels: 2 }],
    // 00010 1111 + 24 bits of rate + 0010: LC, 12 345 Hz, stereo.
    ['an explicit rate', [0x17, 0x80, 0x18, 0x1c, 0x90], { objectType: 2, sampleRate: 12_345, channels: 2 }],
    // 11111 001010 0011 0001: escape, xHE-AAC (42), 48 kHz, mono.
    ['an escaped object type', [0xf9, 0x46, 0x20], { objectType: 42, sampleRate: 48_000, channels: 1 }],
  ])('AudioSpecificConfig: %s', (_what, bytes, expected) => {
    expect(parseAudioSpecificConfig(Uint8Array.from(bytes))).toEqual(expected);
  });
});

describe('sample entries', () => {
  const HVCC = Uint8Array.of(1, 0x01, 0x60, 0, 0, 0, 0xb0, 0, 0, 0, 0, 0, 93, ...zeros(10));

  test.each<Track>([
    VIDEO,
    { ...VIDEO, codec: 'avc3.640028' },
    { ...VIDEO, codec: 'hvc1.1.6.L93.B0', config: HVCC },
    { ...VIDEO, codec: 'hev1.1.6.L93.B0', config: HVCC },
    AUDIO,
  ])('$codec comes back as it was written', (track) => {
    const { track: read, entry, dataReference } = parseStsd(writeStsd(track).subarray(8), track.kind);
    expect({ ...read, timescale: track.timescale }).toEqual(track);
    expect(entry).toBe(track.codec.slice(0, 4));
    expect(dataReference).toBe(1);
  });

  test('a codec that cannot be written is E_TRACK', () => {
    expect(errorCodeOf(() => writeSampleEntry({ ...VIDEO, codec: 'vp09.00.10.08' }))).toBe('E_TRACK');
    expect(errorCodeOf(() => writeSampleEntry({ ...AUDIO, kind: 'video' }))).toBe('E_TRACK');
  });

  const start = [zeros(6), u16(1)];
  const wave = box('wave', box('frma', fourcc('mp4a')), box('esds', ESDS), u32(8), zeros(4));
  test.each([
    ['1', [u16(1), zeros(6), u16(1), u16(16), zeros(4), u32(44_100 * 65_536), zeros(16)]],
    [
      '2',
      [u16(2), zeros(6), u16(3), u16(16), i32(-0x2_0000), u32(0x1_0000), u32(72)].concat([
        Uint8Array.of(0x40, 0xe7, 0x70, 0, 0, 0, 0, 0),
        u32(2),
        zeros(20),
      ]),
    ],
  ])('a QuickTime sound description of version %s, with its esds in wave', (_version, fields) => {
    const stsd = concatBytes([u32(0), u32(1), box('mp4a', ...start, ...fields, wave)]);
    expect(parseStsd(stsd, 'audio').track).toMatchObject({ codec: 'mp4a.40.2', sampleRate: 48_000, channels: 2 });
  });

  test('version 1 of ISO has no more fields than version 0', () => {
    const fields = [u16(1), zeros(6), u16(2), u16(16), zeros(4), u32(1)];
    const stsd = concatBytes([u32(0x0100_0000), u32(1), box('mp4a', ...start, ...fields, box('esds', ESDS))]);
    expect(parseStsd(stsd, 'audio').track.codec).toBe('mp4a.40.2');
  });

  test('an entry without its configuration, or of the other kind', () => {
    const bare = concatBytes([u32(0), u32(1), box('avc1', ...start, zeros(16), u16(4), u16(4), zeros(50))]);
    expect(errorCodeOf(() => parseStsd(bare, 'video'))).toBe('E_INPUT_FORMAT');
    expect(errorCodeOf(() => parseStsd(writeStsd(VIDEO).subarray(8), 'audio'))).toBe('E_INPUT_UNSUPPORTED');
    expect(errorCodeOf(() => parseStsd(writeStsd(VIDEO).subarray(8), 'video', 2))).toBe('E_INPUT_FORMAT');
  });
});

/** Big-endian 32-bit words: the same as `words`, for many values; these come out last first. */
function manyWordsBackwards(values: readonly number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer).toReversed();
}

describe('sample tables', () => {
  test('the plain form', () => {
    const { id, entry, timescale, edits, samples, compositionVersion } = readOne({});
    expect({ id, entry, timescale, edits, compositionVersion }).toEqual({
      id: 7,
      entry: 'avc1',
      timescale: 1000,
      edits: [],
      compositionVersion: 0,
    });
    expect(samples).toEqual({
      count: 3,
      dts: Float64Array.of(0, 40, 80),
      duration: Float64Array.of(40, 40, 40),
      compositionOffset: Int32Array.of(0, 0, 0),
      size: Uint32Array.of(10, 20, 30),
      offset: Float64Array.of(100, 110, 130),
      sync: Uint8Array.of(1, 1, 1),
    });
  });

  test.each([
    ['one size for all', tables('stsz', { stsz: table(0, 9, 3) }), [9, 9, 9]],
    ['stz2 of 4 bits', tables('stsz', { stz2: concatBytes([table(0, 4, 3), Uint8Array.of(0x1a, 0xf0)]) }), [1, 10, 15]],
    ['stz2 of 8 bits', tables('stsz', { stz2: concatBytes([table(0, 8, 3), Uint8Array.of(1, 2, 255)]) }), [1, 2, 255]],
    [
      'stz2 of 16 bits',
      tables('stsz', { stz2: concatBytes([table(0, 16, 3), u16(1), u16(2), u16(65_535)]) }),
      [1, 2, 65_535],
    ],
  ])('%s', (_what, form, sizes) => {
    expect([...readOne({ tables: form }).samples.size]).toEqual(sizes);
  });

  test('co64, and chunks of differing length', () => {
    const form = tables('stco', {
      co64: concatBytes([u32(0), u32(2), u64(2 ** 40), u64(2 ** 41)]),
      stsc: table(0, 2, 1, 2, 1, 2, 1, 1),
    });
    expect([...readOne({ tables: form }).samples.offset]).toEqual([2 ** 40, 2 ** 40 + 10, 2 ** 41]);
  });

  test('runs of times, offsets of both versions, sync samples', () => {
    const form = { ...THREE, stts: table(0, 2, 1, 40, 2, 41), stss: table(0, 2, 1, 3) };
    const { samples } = readOne({ tables: { ...form, ctts: table(0, 2, 2, 5, 1, 7) } });
    expect([...samples.dts]).toEqual([0, 40, 81]);
    expect([...samples.duration]).toEqual([40, 41, 41]);
    expect([...samples.sync]).toEqual([1, 0, 1]);
    expect([...samples.compositionOffset]).toEqual([5, 5, 7]);
    const signed = readOne({ tables: { ...form, ctts: table(1, 1, 3, 0xffff_ffff) } });
    expect(signed.compositionVersion).toBe(1);
    expect([...signed.samples.compositionOffset]).toEqual([-1, -1, -1]);
  });

  test('edit lists and headers of both versions', () => {
    const short = concatBytes([table(0, 2, 300), i32(-1), u32(0x1_0000), u32(600), i32(80), u32(0x8000)]);
    const long = concatBytes([table(0x01, 2), u64(300), i64(-1), u32(0x1_0000), u64(600), i64(80), u32(0x8000)]);
    const expected = [
      { duration: 300, mediaTime: -1, rate: 1 },
      { duration: 600, mediaTime: 80, rate: 0.5 },
    ];
    expect(readOne({ edits: short }).edits).toEqual(expected);
    expect(readOne({ version: 1, edits: long })).toMatchObject({ id: 7, timescale: 1000, edits: expected });
  });

  test('several tracks are kept, others are listed', () => {
    const audio = trak({ handler: 'soun', tables: { ...THREE, stsd: writeStsd(AUDIO).subarray(8) } });
    const movie: Movie = readMovie(moovOf(trak(), audio, trak({ handler: 'tmcd' }), audio));
    expect(movie.tracks.map(({ kind }) => kind)).toEqual(['video', 'audio', 'audio']);
    expect(movie.skipped).toEqual(["track 7 of type 'tmcd'"]);
    expect(movie.timescale).toBe(600);
  });

  test.each<[string, string, Tables]>([
    ['fewer times than samples', 'E_INPUT_FORMAT', { ...THREE, stts: table(0, 1, 2, 40) }],
    ['fewer composition offsets than samples', 'E_INPUT_FORMAT', { ...THREE, ctts: table(0, 1, 2, 40) }],
    ['a sync sample that does not exist', 'E_INPUT_FORMAT', { ...THREE, stss: table(0, 1, 4) }],
    ['chunks that hold too few samples', 'E_INPUT_FORMAT', { ...THREE, stsc: table(0, 1, 1, 2, 1) }],
    ['chunks out of order', 'E_INPUT_FORMAT', { ...THREE, stsc: table(0, 2, 2, 1, 1, 1, 2, 1) }],
    ['a count beyond its box', 'E_INPUT_FORMAT', { ...THREE, stsz: table(0, 0, 0xffff_ffff, 1) }],
    ['no stts', 'E_INPUT_FORMAT', tables('stts', {})],
    ['stz2 of 5 bits', 'E_INPUT_FORMAT', tables('stsz', { stz2: table(0, 5, 1, 0) })],
    ['a change of description', 'E_INPUT_UNSUPPORTED', { ...THREE, stsc: table(0, 2, 1, 1, 1, 2, 2, 2) }],
    ['constant sizes beyond the file', 'E_INPUT_TRUNCATED', { ...THREE, stsz: table(0, 9, 0xffff_ffff) }],
    ['a sample beyond the file', 'E_INPUT_TRUNCATED', { ...THREE, stco: table(0, 1, 941) }],
  ])('%s is refused', (_what, expected, form) => {
    expect(errorCodeOf(() => readOne({ tables: form }, 1000))).toBe(expected);
  });

  test('billions of samples of one byte are refused even if the file could hold them', () => {
    expect(errorCodeOf(() => readOne({ tables: { ...THREE, stsz: table(0, 1, 0xffff_ffff) } }))).toBe(
      'E_INPUT_UNSUPPORTED',
    );
  });

  test('media in another file is E_INPUT_UNSUPPORTED', () => {
    const moov = moovOf(trak());
    const external = box('dinf', fullBox('dref', 0, 0, u32(1), fullBox('url ', 0, 0, fourcc('a.b\0'))));
    const stbl = box('stbl', ...Object.entries(THREE).map(([type, body]) => box(type, body)));
    const mdia = box(
      'mdia',
      fullBox('mdhd', 0, 0, zeros(8), u32(1000), zeros(8)),
      fullBox('hdlr', 0, 0, u32(0), fourcc('vide'), zeros(12)),
      box('minf', external, stbl),
    );
    const own = concatBytes([moov, box('trak', fullBox('tkhd', 0, 0, zeros(8), u32(1), zeros(60)), mdia)]);
    expect(errorCodeOf(() => readMovie(own))).toBe('E_INPUT_UNSUPPORTED');
  });

  test('300,000 samples take tens of milliseconds', () => {
    const count = 300_000;
    const each = (value: (i: number) => number): number[] => Array.from({ length: count }, (_, i) => value(i));
    const moov = moovOf(
      trak({
        tables: {
          stsd: THREE['stsd'] ?? zeros(0),
          stts: table(0, 1, count, 40),
          stsz: concatBytes([table(0, 0, count), manyWordsBackwards(each((i) => 1000 + (i % 7)))]),
          stsc: table(0, 1, 1, 1, 1),
          stco: concatBytes([table(0, count), manyWordsBackwards(each((i) => (count - i) * 1040))]),
          ctts: concatBytes([table(0, count), manyWordsBackwards(each((i) => i % 3).flatMap((n) => [n, 1]))]),
          stss: concatBytes([table(0, count / 50), manyWordsBackwards(each((i) => i + 1).filter((i) => i % 50 === 0))]),
        },
      }),
    );
    for (let warmUp = 0; warmUp < 3; warmUp++) readMovie(moov);
    const tookMs = Array.from({ length: 5 }, () => {
      const before = process.cpuUsage();
      expect(readMovie(moov).tracks[0]?.samples.count).toBe(count);
      return cpuMs(before);
    });
    // About 12 ms once the loops are compiled.
    expect(Math.min(...tookMs)).toBeLessThan(300);
  });
});

/** A file of `ftyp` and these parts. */
function fileOf(...parts: readonly Uint8Array[]): Uint8Array {
  return concatBytes([box('ftyp', fourcc('isom'), zeros(4)), ...parts]);
}

describe('finding moov', () => {
  const moov = box('moov', moovOf(trak()));
  const largeMoov = concatBytes([boxHeader('moov', 2 ** 32).subarray(0, 8), u64(moov.length + 8), moov.subarray(8)]);
  const largeMdat = concatBytes([u32(1), fourcc('mdat'), u64(20), u32(0)]);
  const openMdat = concatBytes([u32(0), fourcc('mdat'), zeros(9)]);

  test.each([
    ['first', fileOf(moov, openMdat), 16],
    ['last', fileOf(box('mdat', zeros(9)), moov), 33],
    ['behind a 64-bit mdat', fileOf(largeMdat, moov), 36],
    ['with a 64-bit size of its own', fileOf(largeMoov, largeMdat), 16],
    ['before padding', fileOf(moov, zeros(100)), 16],
    ['before three odd bytes', fileOf(moov, zeros(3)), 16],
  ])('%s', async (_where, bytes, offset) => {
    const found = await locateMovie(readFrom(bytes), bytes.length);
    expect(found.moovOffset).toBe(offset);
    expect(found.moov).toEqual(moov.subarray(8));
  });

  test.each([
    ['an open mdat, as of a recording not finished', fileOf(openMdat), 'E_INPUT_TRUNCATED'],
    ['mdat cut off behind moov', fileOf(moov, u32(99), fourcc('mdat')), 'E_INPUT_TRUNCATED'],
    ['a header cut off', fileOf(u32(1), fourcc('mdat'), u32(0)), 'E_INPUT_TRUNCATED'],
    ['half a header', fileOf(u32(9)), 'E_INPUT_TRUNCATED'],
    ['fragments without their moov', fileOf(box('moof')), 'E_INPUT_UNSUPPORTED'],
    ['noise instead of a box', fileOf(zeros(64)), 'E_INPUT_FORMAT'],
    ['a picture', concatBytes([u32(0x8950_4e47), u32(0x0d0a_1a0a), zeros(30)]), 'E_INPUT_FORMAT'],
    ['thousands of boxes', fileOf(...Array.from({ length: 5000 }, () => box('free'))), 'E_INPUT_FORMAT'],
  ])('%s', async (_what, bytes, expected) => {
    await expect(locateMovie(readFrom(bytes), bytes.length)).rejects.toMatchObject({ code: expected });
  });
});

/** CPU time since `before`: unlike the clock it does not count the other work of the machine. */
function cpuMs(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Numbers below 2^32 from a seed (xorshift32), the same in every run. */
function seededRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Reads the head of a file of `fileSize` bytes; anything but a FootageError is thrown on. */
async function outcomeOf(head: Uint8Array, fileSize: number): Promise<string> {
  try {
    const { moov } = await locateMovie(readFrom(head), fileSize);
    const before = process.memoryUsage().arrayBuffers;
    readMovie(moov, fileSize);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(100 * 1024 * 1024);
    return 'movie';
  } catch (error) {
    if (error instanceof FootageError) return error.code;
    throw error;
  }
}

describe('damaged bytes', () => {
  const MUTATIONS = 2000;
  /** Values that make counts, sizes and versions extreme. */
  const INTERESTING = [0, 1, 0x7f, 0x80, 0xff] as const;
  let file: Uint8Array;
  beforeAll(async () => {
    file = await readFile(await mediaFile('h264-aac-moov-first'));
  });

  test(`${MUTATIONS} mutations of moov end with a movie or a FootageError`, async () => {
    const { moov, moovOffset } = await locateMovie(readFrom(file), file.length);
    const head = file.subarray(0, moovOffset + 8 + moov.length);
    const random = seededRandom(0x2013);
    const outcomes = new Map<string, number>();
    const before = process.cpuUsage();
    for (let i = 0; i < MUTATIONS; i++) {
      const mutated = new Uint8Array(head);
      // Most fields are in the first kilobyte and around it; the rest is long tables.
      for (let hits = 1 + random(4); hits > 0; hits--) {
        const range = random(4) === 0 ? mutated.length : Math.min(mutated.length, 1400);
        mutated[random(range)] = random(2) === 0 ? random(256) : (INTERESTING[random(5)] ?? 0);
      }
      const outcome = await outcomeOf(mutated, file.length);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    expect(cpuMs(before)).toBeLessThan(20_000);
    expect(outcomes.get('movie')).toBeGreaterThan(100);
    expect(outcomes.get('E_INPUT_FORMAT')).toBeGreaterThan(100);
  });
});
