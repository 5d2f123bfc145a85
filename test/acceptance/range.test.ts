/**
 * Any range of an import: exactly the pictures whose presentation interval meets it are presented, at their times, and
 * the sound is that of the same instants, sample for sample.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import {
  at,
  decode,
  difference,
  exportTo,
  seeded,
  START_MS,
  variantFile,
  VARIANT_NAMES,
  type Picture,
  type Sound,
  type Variant,
} from '../support/acceptance.ts';
import { probe } from '../support/ffmpeg.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** Seconds of a 12 s file: inside a GOP, across cuts of segments (every 4 s), across the ends, inside one picture. */
function rangesOf(variant: Variant): (readonly [from: number, to: number])[] {
  const random = seeded(VARIANT_NAMES.indexOf(variant));
  const anywhere = Array.from({ length: variant === 'plain' ? 4 : 1 }, (): [number, number] => {
    const from = random() * 6.9;
    return [from, from + 5];
  });
  const long: [number, number][] = [...anywhere, [-3, 1.234], [9.87, 11.99], [3.7, 8.32]];
  // FFmpeg overlooks negative composition offsets in the last two entries of a table, so it misreads short ones.
  return variant === 'negative composition offsets' ? long : [...long, [5.005, 5.03], [0.03, 0.11]];
}

interface Source {
  readonly pictures: readonly Picture[];
  /** Where the last picture goes off the screen, seconds. */
  readonly endOfPictures: number;
  readonly sound: Sound;
  readonly variant: Variant;
}

/** When each picture goes off the screen: when the next one comes; the last at `endS`. */
function shownWithin(pictures: readonly Picture[], endS: number, [from, to]: readonly [number, number]): Picture[] {
  return pictures.filter(({ timeS }, i) => timeS < to - 1e-7 && (pictures[i + 1]?.timeS ?? endS) > from + 1e-7);
}

async function sourceOf(file: string, rate: number, variant: Variant): Promise<Source> {
  const { pictures, sound } = await decode(file, rate);
  const [before = 0, last = 0] = pictures.slice(-2).map(({ timeS }) => timeS);
  return { pictures, endOfPictures: last + (last - before), sound, variant };
}

/** The end of the last picture or of the sound, whichever is later, on the source's scale. */
function endOf({ endOfPictures, sound }: Source): number {
  return Math.max(sound.startS + sound.samples.length / sound.rate, endOfPictures);
}

/** A difference of less than this cannot be heard, and tells a frame of sound from its neighbours by far. */
const SAME_SOUND = 1e-4;
/** Without its forerunner, a frame of AAC lacks the first half of its overlap. */
const FRAME = 1024;

/** Exports a range and compares it; returns how many pictures it has. */
async function expectRange(archive: Archive, source: Source, range: readonly [number, number], folder: string) {
  const [from, to] = range;
  const label = `range ${from} to ${to}`;
  const exported = join(folder, `${from}-${to}.mp4`);
  const start = (START_MS / 1000 + from).toFixed(6);
  const end = (START_MS / 1000 + to).toFixed(6);
  await exportTo(exported, archive, { camera: 'door', start, end });
  const wanted = shownWithin(source.pictures, source.endOfPictures, range);
  if (wanted.length === 0) {
    await expectSoundOnly(exported, source, range);
    return 0;
  }
  const silent = to < source.sound.startS;
  const { pictures, sound, messages } = await decode(exported, source.sound.rate, silent ? 'pictures' : 'both');
  expect(
    pictures.map(({ hash }) => hash),
    label,
  ).toEqual(wanted.map(({ hash }) => hash));
  // Where the range begins with a picture, that is time 0; where the file begins in it, the file's first instant is.
  const origin = from > 0 ? (wanted[0]?.timeS ?? 0) : 0;
  pictures.forEach(({ timeS }, i) => expect(timeS, label).toBeCloseTo((wanted[i]?.timeS ?? 0) - origin, 4));
  if (!silent) expectSound(sound, source, { origin, end: endOfRange(source, wanted, to), label });
  // Decoding begins at a sync sample that is no IDR picture: what its leading pictures unmark is not there, rightly.
  const leadingOnly = /^(\[h264 @ \S+\] mmco: unref short failure\s*| +Last message repeated \d+ times\s*)+$/;
  expect(messages.replace(source.variant === 'H.264 with open GOPs' ? leadingOnly : '', ''), label).toBe('');
  return wanted.length;
}

/** A range before the first picture has sound only, from the border of a frame on. */
async function expectSoundOnly(exported: string, { sound }: Source, [from, to]: readonly [number, number]) {
  const { streams } = await probe(exported);
  expect(streams.map((stream) => stream.codec_type)).toEqual(['audio']);
  const { startS, samples, rate } = (await decode(exported, sound.rate, 'sound')).sound;
  const first = Math.floor((from * rate) / FRAME) * FRAME;
  expect([startS, samples.length]).toEqual([0, Math.ceil((to * rate) / FRAME) * FRAME - first]);
  expect(offsetOf(sound.samples, first, samples, samples.length)).toBe(0);
}

/** Pictures and sound end together: where the last picture of the range goes off the screen. */
function endOfRange(source: Source, wanted: readonly Picture[], to: number): number {
  const next = source.pictures[source.pictures.findIndex(({ hash }) => hash === wanted.at(-1)?.hash) + 1];
  if (next !== undefined) return next.timeS;
  return to < source.endOfPictures ? source.endOfPictures : Math.min(to, endOf(source));
}

function expectSound(
  { startS, samples, rate }: Sound,
  { sound }: Source,
  { origin, end, label }: { origin: number; end: number; label: string },
): void {
  const sourceFrom = Math.round((startS + origin - sound.startS) * rate);
  // Nothing of the sound is missing in front: it begins with the range, or with the source's own.
  expect(startS, label).toBeLessThan(Math.max(0, sound.startS - origin) + 2 / rate);
  const sourceTo = Math.min(sound.samples.length, Math.round((end - sound.startS) * rate));
  expect(Math.abs(sourceFrom + samples.length - sourceTo), `${label}: end of the sound`).toBeLessThanOrEqual(FRAME + 1);
  const count = Math.min(samples.length, sound.samples.length - sourceFrom) - FRAME;
  if (count <= 0) return;
  // A wait before the sound is a whole number of the movie's ticks, which are the video's.
  const tolerance = sound.startS > origin ? 1 : 0;
  expect(Math.abs(offsetOf(sound.samples, sourceFrom, samples, count)), label).toBeLessThanOrEqual(tolerance);
}

/** How many samples the sound is off; NaN if it is not the source's. */
function offsetOf(source: Float32Array, sourceFrom: number, samples: Float32Array, count: number): number {
  const offsets = [0, -1, 1];
  return offsets.find((off) => difference(samples, 0, source, sourceFrom + off, count) < SAME_SOUND) ?? Number.NaN;
}

const RATES: Partial<Record<string, number>> = { 'audio 44.1 kHz': 44_100 };

describe('borders that lie on a picture', () => {
  test('a range from one picture to another has the first and not the last', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    await archive.import('door', await variantFile('plain'), { start: at(0), recorder: { segmentDurationMs: 4000 } });
    const source = await sourceOf(await variantFile('plain'), 48_000, 'plain');
    // 4 s: the cut of a segment; 6 s: a sync sample; the others lie inside a GOP.
    const ranges = [
      [4, 6],
      [3.96, 4.04],
      [1.24, 3.48],
      [6, 6.04],
    ] as const;
    for (const range of ranges) {
      const wanted = await expectRange(archive, source, range, folder);
      expect(wanted).toBe(Math.round((range[1] - range[0]) * 25));
    }
  });

  test('a range outside of the footage is refused', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    await archive.import('door', await variantFile('plain'), { start: at(0) });
    for (const [start, end] of [
      [at(-9), at(0)],
      [at(12.1), at(20)],
    ] as const) {
      await expect(archive.session({ camera: 'door', start, end })).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
    }
  });
});

describe('a range presents exactly its pictures, and the sound of the same instants', () => {
  test.each(VARIANT_NAMES)('%s', async (variant) => {
    const folder = await temporaryFolder();
    const file = await variantFile(variant);
    await using archive = await openArchive(join(folder, 'archive'));
    await archive.import('door', file, { start: at(0), recorder: { segmentDurationMs: 4000 } });
    const source = await sourceOf(file, RATES[variant] ?? 48_000, variant);
    for (const range of rangesOf(variant)) await expectRange(archive, source, range, folder);
  });
});
