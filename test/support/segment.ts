/**
 * Segments of synthetic frames, written with the product's writer: planning never decodes, so a frame is any bytes. What
 * was written is returned as a plain list, from which tests say what must be read back.
 */
import { open, readFile, writeFile } from 'node:fs/promises';
import { encodeRecord, RecordFlag, RecordType } from '../../src/format/delimiter.ts';
import { type Anchor, encodeAnchor, encodeGroupTable, type Head, type TrackEnd } from '../../src/format/records.ts';
import type { Track } from '../../src/media.ts';
import { native } from '../../src/native.ts';
import type { SegmentContents } from '../../src/segment/contents.ts';
import { GroupFlusher } from '../../src/segment/flusher.ts';
import { DATA_START, indexPathOf, OPEN_PREFIX } from '../../src/segment/layout.ts';
import { OpenSegmentReader, readTrailer } from '../../src/segment/reader.ts';
import { nodeDisk, openIfThere, type SegmentIo } from '../../src/segment/disk.ts';
import { SegmentWriter } from '../../src/segment/writer.ts';

/** The real disk and the layer that is tested. */
export const io: SegmentIo = { disk: nodeDisk, native };

export const VIDEO: Track = {
  kind: 'video',
  codec: 'avc1.640028',
  timescale: 90_000,
  config: Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0),
  width: 640,
  height: 360,
};

/** AAC-LC, 48 kHz, mono. */
export const AUDIO: Track = {
  kind: 'audio',
  codec: 'mp4a.40.2',
  timescale: 48_000,
  config: Uint8Array.from([
    ...[0, 0, 0, 0, 3, 0x19, 0, 1, 0, 4, 0x11, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ...[5, 2, 0x11, 0x88, 6, 1, 2],
  ]),
  sampleRate: 48_000,
  channels: 1,
};

export const START_UTC_MS = Date.parse('2026-01-31T12:00:00Z');
/** Ticks of a picture at 25 a second. */
export const PICTURE_TICKS = 3600;
export const AUDIO_TICKS = 1024;
const GOP = 10;
/** Composition offsets of a GOP with B-frames, in pictures. */
const DELAYS = [1, 3, 1, 0, 2];

export const HEAD: Head = {
  segment: '00112233445566778899aabbccddeeff',
  camera: 'c0c1c2c3c4c5c6c7c8c9cacbcccdcecf',
  run: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
  sequence: 0,
  anchor: { track: 0, dts: 0, utcMs: START_UTC_MS, discontinuity: false },
  tracks: [
    { kind: 'video', timescale: 90_000 },
    { kind: 'audio', timescale: 48_000 },
  ],
};

/** A frame as it must come back. */
export interface Written {
  readonly track: number;
  readonly dts: number;
  readonly duration: number;
  readonly compositionOffset: number;
  readonly size: number;
  readonly sync: boolean;
  /** Where its payload lies. */
  readonly offset: number;
  /** Where the record that holds it ends: cut behind that, it is whole. */
  readonly recordEnd: number;
}

/** Bytes that look random and are the same at each run. */
export function noise(length: number, seed: number): Uint8Array {
  const out = new Uint8Array(length);
  let state = (Math.imul(seed + 1, 2_654_435_761) + 1) >>> 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    out[i] = state >>> 24;
  }
  return out;
}

/** A flusher that syncs nothing, since unit tests need no disk; each flush takes `delayMs`. */
export function quickFlusher(delayMs = 0): GroupFlusher {
  const groupFlush = async (fds: Int32Array): Promise<Int32Array> => {
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
    return new Int32Array(fds.length);
  };
  return new GroupFlusher({ ...native, groupFlush });
}

export class Author {
  readonly writer: SegmentWriter;
  readonly frames: Written[] = [];
  readonly anchors: Anchor[] = [];
  #pictures = 0;
  #audioDts = -AUDIO_TICKS;

  private constructor(writer: SegmentWriter) {
    this.writer = writer;
  }

  static async begin(
    directory: string,
    { head = HEAD, tracks = [VIDEO, AUDIO], flusher = quickFlusher() } = {},
  ): Promise<Author> {
    const writer = await SegmentWriter.create({
      ...{ directory, startUtcMs: START_UTC_MS, head, tracks, anchors: [], indexIntervalMs: 0, ...io },
      flusher,
    });
    return new Author(writer);
  }

  #append(
    type: number,
    fields: { flags: number; track: number; cts: number; dts: number },
    payload: Uint8Array,
  ): number {
    const at = this.writer.bytes;
    const delimiter = { type, flags: fields.flags, track: fields.track, configuration: 0, dts: fields.dts };
    const record = encodeRecord(
      { ...delimiter, compositionOffset: fields.cts },
      payload,
      this.writer.seed,
      native.crc32c,
    );
    this.writer.append([record]);
    return at + 32;
  }

  picture(size = 50 + ((this.#pictures * 37) % 90)): void {
    const i = this.#pictures++;
    const dts = i * PICTURE_TICKS;
    const compositionOffset = (DELAYS[i % DELAYS.length] ?? 0) * PICTURE_TICKS;
    const sync = i % GOP === 0;
    const fields = { flags: sync ? RecordFlag.sync : 0, track: 0, cts: compositionOffset, dts };
    const offset = this.#append(RecordType.frame, fields, noise(size, i));
    const rest = { track: 0, dts, duration: PICTURE_TICKS, compositionOffset, size, sync };
    this.frames.push({ ...rest, offset, recordEnd: offset + size });
  }

  /** A group of audio frames, `pauseTicks` behind the one before. */
  audio(count: number, pauseTicks = 0): void {
    this.#audioDts += pauseTicks;
    const sizes = Array.from({ length: count }, (_, i) => 20 + ((this.frames.length + i) % 13));
    const table = encodeGroupTable(sizes.map((size) => ({ size, durationTicks: AUDIO_TICKS })));
    const payload = Buffer.concat([table, ...sizes.map((size, i) => noise(size, 1000 + this.frames.length + i))]);
    const fields = { flags: RecordFlag.sync, track: 1, cts: 0, dts: this.#audioDts };
    let offset = this.#append(RecordType.group, fields, payload) + table.byteLength;
    for (const size of sizes) {
      const rest = { track: 1, duration: AUDIO_TICKS, compositionOffset: 0, size, sync: true };
      this.frames.push({ ...rest, dts: this.#audioDts, offset, recordEnd: this.writer.bytes });
      offset += size;
      this.#audioDts += AUDIO_TICKS;
    }
  }

  /** The wall clock steps by `ms` at the next picture. */
  anchor(ms: number): void {
    const dts = this.#pictures * PICTURE_TICKS;
    const anchor: Anchor = { track: 0, dts, utcMs: START_UTC_MS + dts / 90 + ms, discontinuity: false };
    this.anchors.push(anchor);
    this.writer.append([encodeAnchor(anchor, this.writer.seed, native.crc32c)]);
  }

  /** Pictures with sound between them, sub-blocks in between, an audio pause, and a step of the clock. */
  async story(pictures: number): Promise<void> {
    for (let i = 0; i < pictures; i++) {
      this.picture();
      if (i % 4 === 3) this.audio(7, i === 15 ? 5 * AUDIO_TICKS : 0);
      if (i === 12) this.anchor(700);
      if (i % 9 === 8) await this.flush();
    }
    await this.writer.written();
  }

  async flush(): Promise<void> {
    await this.writer.written();
    await this.writer.flush();
  }

  get ends(): TrackEnd[] {
    const pictures = this.frames.filter(({ track }) => track === 0).length;
    return [
      { endDts: pictures * PICTURE_TICKS, estimated: false },
      { endDts: this.#audioDts, estimated: false },
    ];
  }
}

/** The tables of a segment as a list of frames, in the form of `Written` but for the end of the record. */
export function framesOf({ tracks }: SegmentContents): Omit<Written, 'recordEnd'>[] {
  return tracks.flatMap(({ samples }, track) =>
    Array.from({ length: samples.count }, (_, i) => ({
      track,
      dts: samples.dts[i] ?? Number.NaN,
      duration: samples.duration[i] ?? Number.NaN,
      compositionOffset: samples.compositionOffset[i] ?? Number.NaN,
      size: samples.size[i] ?? Number.NaN,
      sync: samples.sync[i] === 1,
      offset: samples.offset[i] ?? Number.NaN,
    })),
  );
}

/** What `framesOf` must give for what was written. */
export function expected(frames: readonly Written[]): Omit<Written, 'recordEnd'>[] {
  const plain = frames.map(({ track, dts, duration, compositionOffset, size, sync, offset }) => ({
    ...{ track, dts, duration, compositionOffset, size, sync, offset },
  }));
  return plain.toSorted((a, b) => a.track - b.track || a.dts - b.dts);
}

/** Reads a segment as an open one: pseudo-header, if there is one, then the scan. */
export async function readOpen(path: string, estimate = false): Promise<SegmentContents> {
  const file = await openIfThere(nodeDisk, path);
  if (file === undefined) throw new Error(`${path} is missing`);
  const reader = await OpenSegmentReader.open(file, path, io);
  if (reader === undefined) throw new Error(`${path} has no head`);
  try {
    await reader.refresh();
    return reader.contents(estimate);
  } finally {
    await reader.close();
  }
}

/** A sealed segment and its pseudo-header as they were at each step. */
export interface Story {
  readonly path: string;
  readonly frames: readonly Written[];
  readonly anchors: readonly Anchor[];
  /** Where the end record begins, and where it ends. */
  readonly endAt: number;
  readonly dataEnd: number;
  /** The whole sealed file. */
  readonly sealed: Buffer;
  /** The pseudo-header as it was before the sealing. */
  readonly index: Buffer;
}

/** Writes and seals a segment; its pseudo-header is left beside it. */
export async function tellStory(directory: string, pictures = 40): Promise<Story> {
  const author = await Author.begin(directory);
  await author.story(pictures);
  const endAt = author.writer.bytes;
  const { path } = author.writer;
  const index = await readFile(indexPathOf(path));
  const trailer = await author.writer.seal(author.ends);
  await author.writer.close();
  const sealed = await readFile(path);
  const { frames, anchors } = author;
  return { path, frames, anchors, endAt, dataEnd: trailer.moov.offset, sealed, index };
}

/** The segment as a crash leaves it: its first bytes, as long as it was open. */
export function openBytes({ sealed }: Pick<Story, 'sealed'>, length: number): Buffer {
  const bytes = Buffer.from(sealed.subarray(0, length));
  bytes.set(OPEN_PREFIX.subarray(0, Math.min(length, DATA_START)));
  return bytes;
}

/** Puts a state on disk; `index` undefined: no pseudo-header. */
export async function restore(path: string, bytes: Uint8Array, index: Uint8Array | undefined): Promise<void> {
  await writeFile(path, bytes);
  if (index !== undefined) await writeFile(indexPathOf(path), index);
}

/** Makes of a sealed segment what a kill leaves that comes before its `moov`, but for the pseudo-header. */
export async function unseal(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const trailer = await readTrailer(file, native);
    if (trailer === undefined) throw new Error(`${path} is not sealed`);
    await file.truncate(trailer.moov.offset);
    await file.write(OPEN_PREFIX, 0, OPEN_PREFIX.byteLength, 0);
  } finally {
    await file.close();
  }
}
