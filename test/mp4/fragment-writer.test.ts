/**
 * Fragments around media as a segment holds it, with other bytes between the samples: FFmpeg, Chromium and our own
 * reader find the packets of the source in them.
 */
import { randomFillSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { boxes, concatBytes } from '../../src/mp4/box.ts';
import {
  fragmentLength,
  segmentIndexLength,
  writeFragment,
  writeInitSegment,
  writeSegmentIndex,
  STYP,
} from '../../src/mp4/fragment-writer.ts';
import type { FragmentSpec, InitTrack, TrackFragmentSpec } from '../../src/mp4/fragment-writer.ts';
import type { Edit } from '../../src/mp4/movie.ts';
import type { Movie, MovieTrack } from '../../src/mp4/reader.ts';
import { readMovieFile } from '../../src/mp4/top-level.ts';
import { withPage } from '../support/chromium.ts';
import { packets, probe, warnings } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { withFileServer } from '../support/serve.ts';
import { temporaryFolder } from '../support/tmp.ts';

const SECONDS = 3;
const PICTURES = SECONDS * 25;
const SOURCE = [
  ...['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25'],
  ...['-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000', '-t', String(SECONDS)],
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '25', '-c:a', 'aac'],
];
/** What a segment has before a picture, and before a group of up to 8 frames of sound. */
const DELIMITER_BYTES = 32;
const GROUP_FRAMES = 8;
const GROUP_BYTES = DELIMITER_BYTES + 4 + 8 * GROUP_FRAMES;
/** Where the media of every fragment begins in the file it is copied from; any number will do. */
const MEDIA_POSITION = 1_000_000;

let path: string;
let source: Buffer;
let movie: Movie;
beforeAll(async () => {
  path = await makeMedia('source.mp4', SOURCE);
  source = await readFile(path);
  movie = await readMovieFile(async (offset, length) => source.subarray(offset, offset + length), source.length);
});

/** Samples [from, to) of a track, with their new places. */
interface Part {
  readonly track: MovieTrack;
  readonly from: number;
  readonly to: number;
  readonly position: Float64Array;
}

interface Fragment {
  readonly spec: FragmentSpec;
  readonly media: Uint8Array;
}

const timeOf = ({ samples, timescale }: MovieTrack, i: number): number => (samples.dts[i] ?? 0) / timescale;

/** The samples of each second; the last fragment takes what is left. */
function partsOf(second: number): Part[] {
  return movie.tracks.map((track) => {
    const isBefore = (limit: number) => (_: number, i: number) => timeOf(track, i) < limit;
    const columns = track.samples.dts.subarray(0, track.samples.count);
    const end = second === SECONDS - 1 ? Infinity : second + 1;
    const [from, to] = [columns.filter(isBefore(second)).length, columns.filter(isBefore(end)).length];
    return { track, from, to, position: new Float64Array(track.samples.count) };
  });
}

/** Media as a segment has it: samples by decode time, delimiters before pictures and before groups of sound. */
function layOut(parts: readonly Part[]): Uint8Array {
  const media: Uint8Array[] = [];
  let at = MEDIA_POSITION;
  const put = (bytes: Uint8Array): void => {
    media.push(bytes);
    at += bytes.length;
  };
  const groups = parts.flatMap((part) => groupsOf(part)).toSorted((a, b) => a.time - b.time);
  for (const { part, from, to } of groups) {
    put(randomFillSync(new Uint8Array(part.track.kind === 'video' ? DELIMITER_BYTES : GROUP_BYTES)));
    for (let i = from; i < to; i++) {
      part.position[i] = at;
      const { offset, size } = part.track.samples;
      put(source.subarray(offset[i] ?? 0, (offset[i] ?? 0) + (size[i] ?? 0)));
    }
  }
  return concatBytes(media);
}

function groupsOf(part: Part): { part: Part; from: number; to: number; time: number }[] {
  const step = part.track.kind === 'video' ? 1 : GROUP_FRAMES;
  const count = Math.ceil((part.to - part.from) / step);
  return Array.from({ length: count }, (_, group) => {
    const from = part.from + group * step;
    return { part, from, to: Math.min(part.to, from + step), time: timeOf(part.track, from) };
  });
}

function trackFragment({ track, from, to, position }: Part): TrackFragmentSpec {
  const { dts, duration, size, compositionOffset, sync } = track.samples;
  return {
    ...{ trackId: movie.tracks.indexOf(track) + 1, kind: track.kind, from, to },
    ...{ size, compositionOffset, sync, baseDecodeTime: dts[from] ?? 0 },
    delta: (i) => duration[i] ?? 0,
    position: (i) => position[i] ?? 0,
  };
}

function fragmentOf(second: number): Fragment {
  const parts = partsOf(second);
  const media = layOut(parts);
  const tracks = parts.map(trackFragment);
  return {
    media,
    spec: { sequence: second + 1, mediaPosition: MEDIA_POSITION, mediaBytes: media.length, tracks },
  };
}

const allFragments = (): Fragment[] => Array.from({ length: SECONDS }, (_, second) => fragmentOf(second));
const bytesOf = ({ spec, media }: Fragment): Uint8Array => concatBytes([writeFragment(spec), media]);

/** As in the source, to the end of the fragments. */
const editsOf = ({ edits }: MovieTrack): Edit[] => edits.map(({ mediaTime }) => ({ duration: 0, mediaTime }));

function initSegment(edits: (track: MovieTrack) => Edit[], durationTicks?: number): Uint8Array {
  const tracks: InitTrack[] = movie.tracks.map((track) => ({ track: track.track, edits: edits(track) }));
  const duration = durationTicks === undefined ? {} : { durationTicks };
  return writeInitSegment({ timescale: 1000, creationUtcMs: 0, tracks, ...duration });
}

async function written(...parts: readonly Uint8Array[]): Promise<string> {
  const file = join(await temporaryFolder(), 'fragmented.mp4');
  await writeFile(file, concatBytes(parts));
  return file;
}

const packetsAnywhere = async (file: string) => (await packets(file)).map((packet) => ({ ...packet, position: 0 }));

describe('FFmpeg', () => {
  test.each([
    ['with the edit lists of the source', editsOf],
    ['without edit lists', () => []],
  ])('finds the packets of the source, %s', async (_what, edits) => {
    const file = await written(initSegment(edits), ...allFragments().map(bytesOf));
    const [ours, theirs] = [await packets(file, { hash: true }), await packets(path, { hash: true })];
    expect(await warnings(file)).toBe('');
    for (const stream of movie.tracks.keys()) {
      const seen = (all: typeof ours) => all.filter((packet) => packet.stream === stream);
      // Without an edit list the media begins at 0 with its first sample, and nothing is hidden.
      const moved = edits === editsOf ? 0 : (seen(ours)[0]?.dts ?? 0) - (seen(theirs)[0]?.dts ?? 0);
      const comparable = (all: typeof ours, shift: number) =>
        seen(all).map(({ pts, dts, size, flags, hash }, i) => ({
          ...{ pts: pts + shift, dts: dts + shift, size, sync: flags.startsWith('K') },
          // ffprobe prints no hash for a packet with side data (the first one of AAC).
          hash: i === 0 ? undefined : hash,
        }));
      expect(comparable(ours, 0)).toEqual(comparable(theirs, moved));
    }
  });

  test('takes the duration from sidx', async () => {
    const fragments = allFragments().map(bytesOf);
    const index = writeSegmentIndex({
      ...{ trackId: 1, timescale: 12_800, earliestTicks: 1024, firstOffset: STYP.length },
      size: Uint32Array.from(fragments, ({ length }) => length),
      durationTicks: Uint32Array.from(fragments, () => 2 * 12_800),
      sync: Uint8Array.from(fragments, () => 1),
    });
    expect(index).toHaveLength(segmentIndexLength(SECONDS));
    const init = initSegment(() => []);
    const [plain, indexed] = [await written(init, ...fragments), await written(init, index, STYP, ...fragments)];
    // The index claims twice the length, so this cannot come from the fragments.
    expect(Number((await probe(indexed)).streams[0]?.duration)).toBeCloseTo(2 * SECONDS + 0.08, 6);
    expect(await packetsAnywhere(indexed)).toEqual(await packetsAnywhere(plain));
  });
});

describe('our reader', () => {
  test('finds the samples of the source', async () => {
    const file = Buffer.from(concatBytes([initSegment(editsOf), STYP, ...allFragments().map(bytesOf)]));
    const read = await readMovieFile(async (offset, length) => file.subarray(offset, offset + length), file.length);
    expect(read.tracks.map(({ track }) => track)).toEqual(movie.tracks.map(({ track }) => track));
    for (const [i, { samples, edits }] of read.tracks.entries()) {
      const of = movie.tracks[i]?.samples;
      expect(samples.count).toBe(of?.count);
      for (const column of ['dts', 'duration', 'compositionOffset', 'size', 'sync'] as const) {
        expect([...samples[column].subarray(0, samples.count)]).toEqual([...(of?.[column] ?? []).slice(0, of?.count)]);
      }
      expect(edits).toEqual(editsOf(movie.tracks[i] ?? fail()).map((edit) => ({ ...edit, rate: 1 })));
      const [at = 0, size = 0] = [samples.offset[7], samples.size[7]];
      expect(file.subarray(at, at + size).equals(source.subarray(of?.offset[7], (of?.offset[7] ?? 0) + size))).toBe(
        true,
      );
    }
  });
});

function fail(): never {
  throw new Error('no such track');
}

/** Appends the parts to a SourceBuffer and plays them; runs in the page. */
const PLAY_PARTS = `async ({ urls, type }) => {
  const event = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
  const errors = [];
  const video = document.createElement('video');
  video.addEventListener('error', () => errors.push('MediaError ' + video.error.code + ': ' + video.error.message));
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await event(source, 'sourceopen');
  const buffer = source.addSourceBuffer(type);
  let announced;
  for (const url of urls) {
    const bytes = await (await fetch(url)).arrayBuffer();
    buffer.appendBuffer(bytes);
    await Promise.race([event(buffer, 'updateend'), event(video, 'error')]);
    if (url === urls[0]) announced = source.duration;
  }
  const buffered = Array.from({ length: buffer.buffered.length }, (_, i) => [buffer.buffered.start(i), buffer.buffered.end(i)]);
  source.endOfStream();
  video.currentTime = buffered[0]?.[0] ?? 0;
  const ended = Promise.race([event(video, 'ended'), event(video, 'error')]);
  await video.play().catch((error) => errors.push(String(error)));
  await ended;
  return { errors, announced, buffered, decoded: video.getVideoPlaybackQuality().totalVideoFrames };
}`;

interface PartsPlayed {
  readonly errors: readonly string[];
  /** Seconds, as the init segment says. */
  readonly announced: number;
  readonly buffered: readonly (readonly [number, number])[];
  readonly decoded: number;
}

test('Chromium appends init segment and fragments, and plays them to the end', async () => {
  const folder = await temporaryFolder();
  const init = initSegment(() => [], SECONDS * 1000);
  const parts = [init, ...allFragments().map((fragment) => concatBytes([STYP, bytesOf(fragment)]))];
  const files = parts.map((_, i) => join(folder, `part${i}.mp4`));
  for (const [i, file] of files.entries()) await writeFile(file, parts[i] ?? fail());
  const type = `video/mp4; codecs="${movie.tracks.map(({ track }) => track.codec).join(', ')}"`;
  const played = await withFileServer(files, (base) =>
    withPage(async (page) => {
      await page.route(`${base}/page.html`, (route) => route.fulfill({ contentType: 'text/html', body: '<body>' }));
      await page.goto(`${base}/page.html`);
      const request = JSON.stringify({ urls: files.map((file) => `/${basename(file)}`), type });
      return page.evaluate<PartsPlayed>(`(${PLAY_PARTS})(${request})`);
    }),
  );
  expect(played.errors).toEqual([]);
  expect(played.announced).toBe(SECONDS);
  expect(played.buffered).toHaveLength(1);
  const [start = 0, end = 0] = played.buffered[0] ?? [];
  expect(end - start).toBeGreaterThan(SECONDS - 0.1);
  expect(played.decoded).toBeGreaterThanOrEqual(PICTURES - 1);
});

describe('bytes', () => {
  test('the length follows from counts', () => {
    const { spec } = fragmentOf(0);
    const counts = partsOf(0).map(({ track, from, to }) => ({
      ...{ kind: track.kind, samples: to - from },
      runs: track.kind === 'video' ? to - from : Math.ceil((to - from) / GROUP_FRAMES),
    }));
    expect(counts.map(({ samples }) => samples)).toEqual([25, expect.closeTo(47, -1)]);
    expect(writeFragment(spec)).toHaveLength(fragmentLength(counts));
    const [video = fail(), audio = fail()] = counts;
    // One picture costs 36 bytes; a track without samples nothing.
    const more = { ...video, samples: video.samples + 1, runs: video.runs + 1 };
    expect(fragmentLength([more, audio]) - fragmentLength(counts)).toBe(36);
    expect(fragmentLength([video, { ...audio, samples: 0, runs: 0 }])).toBe(fragmentLength([video]));
    const empty = spec.tracks.map((track) => (track.kind === 'audio' ? { ...track, to: track.from } : track));
    expect(writeFragment({ ...spec, tracks: empty })).toHaveLength(fragmentLength([video]));
  });

  test('a track that is always there takes its part without samples, so that lengths of fragments add up', () => {
    const { spec } = fragmentOf(0);
    const split = spec.tracks.map(({ kind, from, to }) => (kind === 'audio' ? from : to));
    const headers = [0, 1].map((half) => {
      const tracks = spec.tracks.map((track, i) => {
        const [from, to] = half === 0 ? [track.from, split[i] ?? 0] : [split[i] ?? 0, track.to];
        return { ...track, from, to, always: true, everySample: true };
      });
      return writeFragment({ ...spec, tracks }).length;
    });
    const counts = spec.tracks.map(({ kind, from, to }) => ({
      kind,
      samples: to - from,
      runs: to - from,
      always: true,
    }));
    const none = counts.map((track) => ({ ...track, samples: 0, runs: 0 }));
    expect((headers[0] ?? 0) + (headers[1] ?? 0)).toBe(fragmentLength(counts) + fragmentLength(none));
    expect(fragmentLength(none)).toBeGreaterThan(fragmentLength(none.map((track) => ({ ...track, always: false }))));
  });

  test('default frames lie between the samples that they are put between', async () => {
    const [video = fail(), audio = fail()] = movie.tracks;
    const { spec, media } = fragmentOf(0);
    const [pictures = fail(), sound = fail()] = spec.tracks;
    const silence = { before: sound.from + 3, count: 5, position: MEDIA_POSITION + media.length };
    const tracks = [pictures, { ...sound, defaultRuns: [silence] }];
    const header = writeFragment({ ...spec, mediaBytes: media.length + 10, tracks });
    const runs = Math.ceil((sound.to - sound.from) / GROUP_FRAMES);
    const counts = { kind: 'audio', samples: sound.to - sound.from, runs: runs + 2 } as const;
    const pictureCounts = { kind: 'video', samples: pictures.to, runs: pictures.to } as const;
    expect(header).toHaveLength(fragmentLength([pictureCounts, counts]));
    const init = writeInitSegment({
      ...{ timescale: 1000, creationUtcMs: 0 },
      tracks: [
        { track: video.track, edits: [] },
        { track: audio.track, edits: [], defaultFrame: { ticks: 1024, bytes: 2 } },
      ],
    });
    const file = await written(init, header, media, Uint8Array.of(1, 2, 1, 2, 1, 2, 1, 2, 1, 2));
    const found = (await packets(file)).filter(({ stream }) => stream === 1);
    const sizes = [...audio.samples.size.subarray(0, sound.to)];
    expect(found.map(({ size }) => size)).toEqual([...sizes.slice(0, 3), 2, 2, 2, 2, 2, ...sizes.slice(3)]);
    expect(found.map(({ dts }) => dts)).toEqual(found.map((_, i) => i * 1024));
    expect(found[3]?.position).toBe(init.length + header.length + media.length);
  });

  test('samples without other bytes in between are one run', () => {
    const { spec } = fragmentOf(0);
    const [video = fail()] = spec.tracks;
    const joined = {
      ...video,
      position: (i: number) => MEDIA_POSITION + video.size.subarray(0, i).reduce((a, b) => a + b, 0),
    };
    const [moof = fail(), mdat = fail()] = [
      ...boxes(concatBytes([writeFragment({ ...spec, mediaBytes: 0, tracks: [joined] })]), 'file'),
    ];
    expect([moof.type, mdat.type, mdat.body.length]).toEqual(['moof', 'mdat', 0]);
    const traf = [...boxes(moof.body, 'moof')].find(({ type }) => type === 'traf') ?? fail();
    expect([...boxes(traf.body, 'traf')].map(({ type }) => type)).toEqual(['tfhd', 'tfdt', 'trun']);
  });

  test('what does not fit its field is a RangeError', () => {
    const { spec } = fragmentOf(0);
    const [video = fail()] = spec.tracks;
    const write = (others: Partial<TrackFragmentSpec>) => () =>
      writeFragment({ ...spec, tracks: [{ ...video, ...others }] });
    expect(write({ baseDecodeTime: -1 })).toThrow(RangeError);
    expect(write({ delta: () => 2 ** 32 })).toThrow(RangeError);
    expect(write({ delta: () => -1 })).toThrow(RangeError);
    expect(write({ position: () => MEDIA_POSITION + 2 ** 31 })).toThrow(/beyond 2 GiB/);
    expect(write({ position: () => 0 })).toThrow(RangeError);
    expect(() => writeFragment({ ...spec, mediaBytes: 2 ** 31 })).toThrow(/beyond 2 GiB/);
    const columns = { size: new Uint32Array(65_536), durationTicks: new Uint32Array(0), sync: new Uint8Array(0) };
    const index = { trackId: 1, timescale: 1000, earliestTicks: 0, firstOffset: 0 };
    expect(() => writeSegmentIndex({ ...index, ...columns })).toThrow(/at most 65535/);
  });
});
