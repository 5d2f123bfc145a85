/** Files for import: the boxes of MP4 and QuickTime, and the records of codecs in them. */
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openMediaFile } from '../../../src/ingest/media-file.ts';
import { av1Codec } from '../../../src/mp4/av1.ts';
import { avcCodec, hevcCodec, parseAudioSpecificConfig, parseDops, parseEsds } from '../../../src/mp4/codec.ts';
import { parameterSets } from '../../../src/mp4/parameter-sets.ts';
import { checkSampleEntry, parseStsd } from '../../../src/mp4/sample-entry.ts';
import { readMovieFile } from '../../../src/mp4/top-level.ts';
import { checkTracks } from '../../../src/recorder/tracks.ts';
import { inputsOf } from '../engine.ts';
import type { FuzzTarget } from '../target.ts';
import { expectThat } from './expect.ts';
import { scratchFolder } from './scratch.ts';
import { BOX_TYPES, mutateBoxes } from './boxes.ts';

/** Reads the index of a file, as import does. */
export const movie: FuzzTarget = {
  name: 'movie',
  words: BOX_TYPES,
  finish: mutateBoxes,
  run: async (bytes) => {
    const read = (offset: number, length: number) =>
      Promise.resolve(Uint8Array.from(bytes.subarray(offset, offset + length)));
    const { tracks } = await readMovieFile(read, bytes.length);
    for (const { samples, track } of tracks) {
      expectThat(track.timescale > 0, 'a timescale is positive');
      for (let i = 0; i < samples.count; i++) {
        const [at = -1, size = 0] = [samples.offset[i], samples.size[i]];
        expectThat(at >= 0 && at + size <= bytes.length, 'samples lie inside the file');
        expectThat(Number.isSafeInteger(samples.dts[i]), 'times are safe integers');
        expectThat(i === 0 || (samples.dts[i] ?? 0) >= (samples.dts[i - 1] ?? 0), 'times do not go back');
      }
    }
  },
};

let folder = '';
/** What a hostile file may make an import read, before it is left. */
const MOST_FRAMES = 5000;

/** A file on disk, opened and read to its end, as `footage import` does. */
export const mediaFile: FuzzTarget = {
  name: 'media-file',
  corpora: ['movie'],
  words: BOX_TYPES,
  finish: mutateBoxes,
  open: async () => {
    folder = await scratchFolder();
  },
  close: () => rm(folder, { recursive: true }),
  run: async (bytes) => {
    const path = join(folder, 'input.mp4');
    await writeFile(path, bytes);
    await using file = await openMediaFile(path);
    expectThat(Number.isFinite(file.durationMs), 'the duration is a number');
    checkTracks(file.tracks);
    let frames = 0;
    for await (const frame of file.frames()) {
      expectThat(Number.isSafeInteger(frame.dts), 'times are safe integers');
      expectThat(frame.track < file.tracks.length, 'frames belong to a track');
      if (++frames === MOST_FRAMES) break;
    }
  },
};

/** One parser for each value of the first byte. */
const CONFIGURATIONS: readonly ((bytes: Uint8Array) => unknown)[] = [
  (bytes) => avcCodec('avc1', bytes),
  (bytes) => hevcCodec('hvc1', bytes),
  (bytes) => av1Codec('av01', bytes),
  parseDops,
  parseEsds,
  parseAudioSpecificConfig,
  (bytes) => parameterSets({ kind: 'video', codec: 'avc1.640028', timescale: 1, config: bytes }),
  (bytes) => parameterSets({ kind: 'video', codec: 'hvc1.1.6.L93.B0', timescale: 1, config: bytes }),
  (bytes) => parameterSets({ kind: 'video', codec: 'av01.0.00M.08', timescale: 1, config: bytes }),
  (bytes) => written(parseStsd(bytes, 'video').track),
  (bytes) => written(parseStsd(bytes, 'audio').track),
];

/** What was read from a sample entry can be written into one. */
function written(track: ReturnType<typeof parseStsd>['track']): void {
  checkSampleEntry({ ...track, timescale: 1000 });
}

/** Decoder configurations and sample entries of the files in `corpus/movie`, each behind the number of its parser. */
function configurations(): Buffer[] {
  const boxes = ['avcC', 'hvcC', 'av1C', 'dOps', 'esds', 'stsd'] as const;
  const parsers: Readonly<Record<(typeof boxes)[number], readonly number[]>> = {
    avcC: [0, 6],
    hvcC: [1, 7],
    av1C: [2, 8],
    dOps: [3],
    esds: [4, 5],
    stsd: [9, 10],
  };
  return inputsOf('corpus/movie').flatMap((bytes) =>
    boxes.flatMap((box) => {
      const at = bytes.indexOf(box) - 4;
      if (at < 0) return [];
      const body = bytes.subarray(at + 8, at + bytes.readUInt32BE(at));
      return parsers[box].map((parser) => Buffer.concat([Buffer.of(parser), body]));
    }),
  );
}

export const codec: FuzzTarget = {
  name: 'codec',
  corpora: [],
  seeds: configurations,
  words: BOX_TYPES,
  maxBytes: 4096,
  run: (bytes) => {
    CONFIGURATIONS[(bytes[0] ?? 0) % CONFIGURATIONS.length]?.(Uint8Array.from(bytes.subarray(1)));
  },
};
