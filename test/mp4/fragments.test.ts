/** Fragments in every form the format allows, and bytes that make no sense. */
import { readFile } from 'node:fs/promises';
import { describe, expect, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import { box, boxHeader, boxes, concatBytes, fourcc, fullBox, i32, u32, u64, zeros } from '../../src/mp4/box.ts';
import type { Movie } from '../../src/mp4/reader.ts';
import { writeStsd } from '../../src/mp4/sample-entry.ts';
import { readMovieFile } from '../../src/mp4/top-level.ts';
import { makeMedia } from '../support/media.ts';

const AVCC = Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0);
const VIDEO = { kind: 'video', codec: 'avc1.640028', timescale: 1000, config: AVCC, width: 64, height: 36 } as const;

const words = (...values: readonly number[]): Uint8Array => concatBytes(values.map(u32));

/** Flags of a sample: a keyframe, a picture that depends on others, one that is only no sync sample. */
const KEY = 0x0200_0000;
const DEPENDS = 0x0100_0000;
const NON_SYNC = 0x0001_0000;

function trak(id: number, handler: string, samples: readonly number[]): Uint8Array {
  const stbl = box(
    'stbl',
    writeStsd(VIDEO),
    fullBox('stts', 0, 0, samples.length === 0 ? u32(0) : words(1, samples.length, 40)),
    fullBox('stsz', 0, 0, words(0, samples.length, ...samples)),
    fullBox('stsc', 0, 0, samples.length === 0 ? u32(0) : words(1, 1, samples.length, 1)),
    fullBox('stco', 0, 0, samples.length === 0 ? u32(0) : words(1, 16)),
  );
  const hdlr = fullBox('hdlr', 0, 0, u32(0), fourcc(handler), zeros(13));
  const mdhd = fullBox('mdhd', 0, 0, zeros(8), u32(1000), zeros(12));
  return box('trak', fullBox('tkhd', 0, 3, zeros(8), u32(id), zeros(60)), box('mdia', mdhd, hdlr, box('minf', stbl)));
}

const MVHD = fullBox('mvhd', 0, 0, zeros(8), u32(600), zeros(80));
/** Track 7: what is left open lasts 40 ticks, has 5 bytes and is a keyframe; track 9 is of another kind. */
const MVEX = box(
  'mvex',
  fullBox('trex', 0, 0, words(7, 1, 40, 5, KEY)),
  fullBox('trex', 0, 0, words(9, 1, 40, 3, KEY)),
);
/** `samples` are the sizes of those in `moov`, 40 ticks each. */
const moovOf = (...samples: readonly number[]): Uint8Array =>
  box('moov', MVHD, trak(7, 'vide', samples), trak(9, 'meta', []), MVEX);

const moof = (...trafs: readonly Uint8Array[]): Uint8Array => box('moof', fullBox('mfhd', 0, 0, u32(1)), ...trafs);
const tfhd = (flags: number, ...fields: readonly Uint8Array[]): Uint8Array =>
  fullBox('tfhd', 0, flags, u32(7), ...fields);
const traf = (...parts: readonly Uint8Array[]): Uint8Array => box('traf', ...parts);
const MOOF_BASE = 0x2_0000;
/** A run of `count` samples at `offset` behind the base, with nothing of their own. */
const run = (count: number, offset: number): Uint8Array => fullBox('trun', 0, 1, u32(count), i32(offset));
const runWithFlags = (flags: number): Uint8Array => fullBox('trun', 0, 0x401, words(1, 500, flags));
/** A run that claims `count` samples and holds the size of one. */
const runWithSizes = (count: number): Uint8Array => fullBox('trun', 0, 0x201, words(count, 500, 5));
const tfdt0 = (time: number): Uint8Array => fullBox('tfdt', 0, 0, u32(time));
const tfdt1 = (time: number): Uint8Array => fullBox('tfdt', 1, 0, u64(time));
const at = (tfdt: Uint8Array, ...runs: readonly Uint8Array[]): Uint8Array => moof(traf(tfhd(MOOF_BASE), tfdt, ...runs));
/** One sample whose length is not known. */
const unknownLength = (time: number): Uint8Array => moof(traf(tfhd(MOOF_BASE | 0x8, u32(0)), tfdt0(time), run(1, 500)));

/** A file of `ftyp`, `moov`, these boxes, and a kilobyte of media. */
async function read(moov: Uint8Array, ...parts: readonly Uint8Array[]): Promise<Movie> {
  const file = concatBytes([box('ftyp', zeros(8)), moov, ...parts, box('mdat', zeros(1000))]);
  return readMovieFile(async (offset, length) => file.subarray(offset, offset + length), file.length);
}

/** The columns of track 7; offsets count from the end of `moov`. */
async function samplesOf(moov: Uint8Array, ...parts: readonly Uint8Array[]) {
  const { samples } = (await read(moov, ...parts)).tracks[0] ?? { samples: undefined };
  if (samples === undefined) throw new Error('no track');
  const column = (values: ArrayLike<number>) => Array.from(values).slice(0, samples.count);
  return {
    dts: column(samples.dts),
    duration: column(samples.duration),
    size: column(samples.size),
    sync: column(samples.sync),
    offset: column(samples.offset).map((offset) => offset - 16 - moov.length),
    compositionOffset: column(samples.compositionOffset),
  };
}

const EMPTY = moovOf();

test('of a terabyte of media nothing is read but what lies around the headers', async () => {
  const mediaBytes = 2 ** 38;
  const pieces = new Map<number, Uint8Array>([[0, concatBytes([box('ftyp', zeros(8)), EMPTY])]]);
  let end = pieces.get(0)?.length ?? 0;
  for (let second = 0; second < 4; second++) {
    const header = concatBytes([moof(traf(tfhd(MOOF_BASE), run(25, 500))), boxHeader('mdat', mediaBytes)]);
    pieces.set(end, header);
    end += header.length + mediaBytes;
  }
  let bytesRead = 0;
  const readAt = async (offset: number, length: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(Math.min(length, end - offset));
    for (const [start, piece] of pieces) {
      const visible = piece.subarray(Math.max(0, offset - start), Math.max(0, offset + length - start));
      if (visible.length > 0) bytes.set(visible, Math.max(0, start - offset));
    }
    bytesRead += bytes.length;
    return bytes;
  };
  const movie = await readMovieFile(readAt, end);
  expect(movie.tracks[0]?.samples.count).toBe(100);
  expect(bytesRead).toBeLessThan(64 * 1024);
});

describe('what a sample is like', () => {
  test('comes from trex, then tfhd, then its run', async () => {
    const byTrex = traf(tfhd(MOOF_BASE), run(2, 500));
    expect(await samplesOf(EMPTY, moof(byTrex))).toEqual({
      dts: [0, 40],
      duration: [40, 40],
      size: [5, 5],
      sync: [1, 1],
      offset: [500, 505],
      compositionOffset: [0, 0],
    });
    const byTfhd = traf(tfhd(MOOF_BASE | 0x3a, words(1, 50, 6, NON_SYNC)), run(2, 500));
    expect(await samplesOf(EMPTY, moof(byTfhd), moof(byTrex))).toMatchObject({
      dts: [0, 50, 100, 140],
      size: [6, 6, 5, 5],
      sync: [0, 0, 1, 1],
    });
    const fields = words(2, 500, 60, 7, KEY, 20, 61, 8, DEPENDS, 0xffff_ffff);
    const bySample = traf(tfhd(MOOF_BASE | 0x3a, words(1, 50, 6, NON_SYNC)), fullBox('trun', 1, 0xf01, fields));
    expect(await samplesOf(EMPTY, moof(bySample))).toMatchObject({
      duration: [60, 61],
      size: [7, 8],
      sync: [1, 0],
      compositionOffset: [20, -1],
    });
  });

  test('the first sample of a run may have flags of its own', async () => {
    const runOf3 = fullBox('trun', 0, 0x5, words(3, 500, KEY));
    const { sync } = await samplesOf(EMPTY, moof(traf(tfhd(MOOF_BASE | 0x20, u32(NON_SYNC)), runOf3)));
    expect(sync).toEqual([1, 0, 0]);
  });

  test('a keyframe depends on nothing', async () => {
    const fragments = [KEY, DEPENDS, NON_SYNC, 0].map((value) => moof(traf(tfhd(MOOF_BASE), runWithFlags(value))));
    expect((await samplesOf(EMPTY, ...fragments)).sync).toEqual([1, 0, 0, 1]);
  });
});

describe('where a sample lies', () => {
  test('behind base_data_offset, and behind the run before it', async () => {
    const base = 16 + EMPTY.length + 300;
    const unplaced = fullBox('trun', 0, 0, u32(1));
    const parts = traf(tfhd(0x1, u64(base)), run(2, 10), unplaced);
    expect((await samplesOf(EMPTY, moof(parts))).offset).toEqual([310, 315, 320]);
  });

  test('without any base: behind the moof, then behind the track before, even one that is not used', async () => {
    const first = traf(tfhd(0), run(1, 500));
    const other = traf(fullBox('tfhd', 0, 0, u32(9)), fullBox('trun', 0, 0, u32(4)));
    const second = traf(tfhd(0), fullBox('trun', 0, 0, u32(1)));
    expect((await samplesOf(EMPTY, moof(first, other, second))).offset).toEqual([500, 517]);
  });

  test('not in a moof, and not before the file', async () => {
    for (const offset of [8, -5000]) {
      await expect(read(EMPTY, moof(traf(tfhd(MOOF_BASE), run(1, offset))))).rejects.toMatchObject({
        code: 'E_INPUT_FORMAT',
        message: expect.stringMatching(/should lie at byte/),
      });
    }
  });

  test('behind the end of the file it is counted, and so is all behind it', async () => {
    const fragments = [moof(traf(tfhd(MOOF_BASE), run(2, 500), run(1, 9999), run(1, 500)))];
    expect((await samplesOf(EMPTY, ...fragments)).dts).toEqual([0, 40]);
    const { skipped } = await read(EMPTY, ...fragments);
    expect(skipped).toContain('the last 2 samples of track 7 (video), which the file does not hold whole');
  });
});

describe('when a sample is decoded', () => {
  test('tfdt of both versions; without one it goes on where it ended', async () => {
    const fragments = [at(tfdt0(1000), run(1, 500)), moof(traf(tfhd(MOOF_BASE), run(1, 500)))];
    const later = at(tfdt1(2 ** 40), run(2, 500));
    expect((await samplesOf(EMPTY, ...fragments, later)).dts).toEqual([1000, 1040, 2 ** 40, 2 ** 40 + 40]);
    await expect(read(EMPTY, at(tfdt1(2 ** 53 - 1), run(9, 500)))).rejects.toMatchObject({ code: 'E_INPUT_FORMAT' });
  });

  test('behind the samples of moov', async () => {
    const { dts, size } = await samplesOf(moovOf(2, 3), moof(traf(tfhd(MOOF_BASE), run(1, 500))));
    expect([dts, size]).toEqual([
      [0, 40, 80],
      [2, 3, 5],
    ]);
  });

  test('a stretch that is announced to be empty takes its time', async () => {
    const empty = moof(traf(tfhd(MOOF_BASE | 0x1_0008, u32(500))));
    const sample = moof(traf(tfhd(MOOF_BASE), run(1, 500)));
    expect((await samplesOf(EMPTY, sample, empty, sample)).dts).toEqual([0, 540]);
  });

  test('a duration of 0 lasts until the next sample, at the end as long as its forerunner', async () => {
    const { dts, duration } = await samplesOf(EMPTY, unknownLength(0), unknownLength(33), unknownLength(67));
    expect([dts, duration]).toEqual([
      [0, 33, 67],
      [33, 34, 34],
    ]);
  });

  test('times that go back are E_INPUT_UNSUPPORTED', async () => {
    const twice = [at(tfdt0(0), run(3, 500)), at(tfdt0(80), run(3, 500))];
    await expect(read(EMPTY, ...twice)).rejects.toMatchObject({
      code: 'E_INPUT_UNSUPPORTED',
      message: expect.stringMatching(/go back .*ffmpeg -i INPUT -c copy/),
    });
  });
});

const NO_BYTES = tfhd(MOOF_BASE | 0x10, u32(0));
const OVER_AND_OVER = Array.from({ length: 40 }, () => run(80, 1200));

describe('fragments that cannot be used', () => {
  test.each([
    ['no tfhd', 'E_INPUT_FORMAT', EMPTY, traf(run(1, 500))],
    ['a track that mvex does not have', 'E_INPUT_FORMAT', EMPTY, traf(fullBox('tfhd', 0, 0, u32(8)), run(1, 500))],
    ['more samples than their run has bytes', 'E_INPUT_FORMAT', EMPTY, traf(tfhd(MOOF_BASE), runWithSizes(2))],
    ['billions of equal samples', 'E_INPUT_UNSUPPORTED', EMPTY, traf(tfhd(MOOF_BASE), run(0xffff_ffff, 500))],
    ['millions of samples without bytes', 'E_INPUT_UNSUPPORTED', EMPTY, traf(NO_BYTES, run(10_000_000, 500))],
    ['the same bytes as samples over and over', 'E_INPUT_UNSUPPORTED', EMPTY, traf(tfhd(MOOF_BASE), ...OVER_AND_OVER)],
    ['another sample description', 'E_INPUT_UNSUPPORTED', EMPTY, traf(tfhd(MOOF_BASE | 0x2, u32(2)), run(1, 500))],
    [
      'two tracks of one number',
      'E_INPUT_FORMAT',
      box('moov', MVHD, trak(7, 'vide', []), trak(7, 'vide', []), MVEX),
      moof(),
    ],
    ['no mvex', 'E_INPUT_FORMAT', box('moov', MVHD, trak(7, 'vide', [2])), traf(tfhd(MOOF_BASE), run(1, 500))],
  ])('%s', async (_what, code, moov, part) => {
    await expect(read(moov, moof(part))).rejects.toMatchObject({ code });
  });

  test('800 mutations of moov and moof end with a movie or a FootageError', async () => {
    const picture = ['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25'];
    const args = [...picture, '-t', '1', '-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2'];
    const flags = ['-movflags', '+empty_moov+default_base_moof', '-frag_duration', '200000'];
    const file = new Uint8Array(await readFile(await makeMedia('mutated.mp4', [...args, ...flags])));
    const places = [...boxes(file, 'file')].filter(({ type }) => type !== 'mdat');
    const hits = places.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => start + i));
    const outcomes = { movie: 0, refused: 0 };
    let state = 0x2013;
    const random = (below: number): number => {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; // Numerical Recipes' generator
      return (state >>> 8) % below;
    };
    for (let i = 0; i < 800; i++) {
      const mutated = new Uint8Array(file);
      for (let hit = 0; hit < 3; hit++) mutated[hits[random(hits.length)] ?? 0] = hit === 0 ? 0xff : random(256);
      try {
        await readMovieFile(async (offset, length) => mutated.subarray(offset, offset + length), mutated.length);
        outcomes.movie += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(FootageError);
        outcomes.refused += 1;
      }
    }
    expect(outcomes.movie).toBeGreaterThan(100);
    expect(outcomes.refused).toBeGreaterThan(100);
  });
});
