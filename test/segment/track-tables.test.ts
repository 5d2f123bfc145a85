/**
 * The tables of a segment can be looked into in two ways: as columns in memory, and as they lie in the sealed `moov`. For
 * whatever samples, sealed for real, both give the same answers.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Track } from '../../src/media.ts';
import { SampleTableBuilder } from '../../src/mp4/tables.ts';
import { native } from '../../src/native.ts';
import type { SegmentContents, SegmentTrack } from '../../src/segment/contents.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { sealSegment } from '../../src/segment/seal.ts';
import { SealedTables } from '../../src/segment/sealed-tables.ts';
import { type BlockTables, type EntriesPart, type TrackTables, wholeTables } from '../../src/segment/track-tables.ts';
import { type TrackView, viewOfContents, viewOfSealed } from '../../src/segment/view.ts';
import { AUDIO, framesOf, HEAD, VIDEO } from '../support/segment.ts';
import { withTemporaryFolder } from '../support/tmp.ts';

const RUNS = 150;
/** Sealing and reading take milliseconds; then the search for a smaller example ends, too. */
const LIMIT_MS = 60_000;

interface PictureSpec {
  readonly kind: 'picture';
  readonly ticks: number;
  readonly compositionOffset: number;
  readonly bytes: number;
  readonly sync: boolean;
  /** Other records in front of it. */
  readonly gapBytes: number;
}

interface GroupSpec {
  readonly kind: 'group';
  readonly frames: readonly { readonly ticks: number; readonly bytes: number }[];
  readonly gapBytes: number;
}

interface SegmentSpec {
  /** In the order of the file. */
  readonly records: readonly (PictureSpec | GroupSpec)[];
  /** DTS of the first picture and of the first frame of sound. */
  readonly videoDts: number;
  readonly audioDts: number;
  readonly dataStart: number;
}

/** Few different values, so that there are runs of equal ones. */
const gaps = fc.constantFrom(32, 32, 96);
const pictures: fc.Arbitrary<PictureSpec> = fc.record({
  kind: fc.constant('picture'),
  ticks: fc.constantFrom(3600, 3600, 3600, 3003, 1),
  compositionOffset: fc.constantFrom(0, 3600, 7200, -3600),
  bytes: fc.integer({ min: 0, max: 3 }),
  sync: fc.constantFrom(true, false, false),
  gapBytes: gaps,
});
const groups: fc.Arbitrary<GroupSpec> = fc.record({
  kind: fc.constant('group'),
  frames: fc.array(fc.record({ ticks: fc.constantFrom(1024, 1024, 960), bytes: fc.integer({ min: 1, max: 9 }) }), {
    minLength: 1,
    maxLength: 3,
  }),
  gapBytes: gaps,
});
const lists = (record: fc.Arbitrary<PictureSpec | GroupSpec>) =>
  fc.array(record, { minLength: 1, maxLength: 40, size: 'max' });
const segments: fc.Arbitrary<SegmentSpec> = fc.record({
  records: fc.oneof(
    lists(fc.oneof({ arbitrary: pictures, weight: 3 }, { arbitrary: groups, weight: 1 })),
    lists(pictures),
    lists(groups),
    lists(pictures.map((picture) => ({ ...picture, sync: false }))),
  ),
  videoDts: fc.constantFrom(0, 90_000, -3600),
  audioDts: fc.constantFrom(0, 48_000, -2048),
  // Offsets of more than 32 bits: the file has a hole there.
  dataStart: fc.constantFrom(4096, 2 ** 32 - 100),
});

function trackOf(track: Track, samples: SampleTableBuilder, endDts: number): SegmentTrack {
  return { track, samples, endDts: samples.count > 0 ? endDts : undefined, estimated: false };
}

function contentsOf({ records, videoDts, audioDts, dataStart }: SegmentSpec) {
  const [video, audio] = [new SampleTableBuilder(), new SampleTableBuilder()];
  let [videoAt, audioAt, at] = [videoDts, audioDts, dataStart];
  for (const record of records) {
    at += record.gapBytes;
    if (record.kind === 'picture') {
      video.push(videoAt, record.ticks, record.compositionOffset, record.bytes, at, record.sync);
      videoAt += record.ticks;
      at += record.bytes;
      continue;
    }
    for (const { ticks, bytes } of record.frames) {
      audio.push(audioAt, ticks, 0, bytes, at, true);
      audioAt += ticks;
      at += bytes;
    }
  }
  const tracks = [trackOf(VIDEO, video, videoAt), trackOf(AUDIO, audio, audioAt)].filter(
    ({ samples }) => samples.count > 0,
  );
  const head = { ...HEAD, tracks: tracks.map(({ track: { kind, timescale } }) => ({ kind, timescale })) };
  const contents: SegmentContents = { head, anchors: [], tracks, ended: true };
  return { contents, dataEnd: at };
}

/** The tables that a track of an answer has: for sound neither of these, whatever its samples say. */
const NOT_OF_SOUND: readonly string[] = ['ctts', 'stss'];

/** Bytes of the entries of a table. */
async function resolved(parts: readonly EntriesPart[], file: FileHandle): Promise<Buffer> {
  const found: Uint8Array[] = [];
  for (const part of parts) {
    if (part.kind === 'bytes') found.push(part.data);
    else found.push((await file.read(Buffer.alloc(part.length), 0, part.length, part.offset)).buffer);
  }
  return Buffer.concat(found);
}

async function entriesOf({ firstChunk, tables }: BlockTables, kind: Track['kind'], file: FileHandle) {
  const entries: Record<string, unknown> = { firstChunk };
  for (const [name, { count, parts }] of Object.entries(tables)) {
    if (kind === 'audio' && NOT_OF_SOUND.includes(name)) continue;
    entries[name] = { count, bytes: (await resolved(parts, file)).toString('hex') };
  }
  return entries;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

/** The first samples of chunks, and the end. */
function borders(tables: TrackTables): number[] {
  const starts = range(0, tables.count).filter((i) => tables.sampleAtOffset(tables.chunkOffset(i)) === i);
  return [...starts, tables.count];
}

function columnsOf(tables: TrackTables, from: number, to: number): Record<string, unknown> {
  const { count, ...columns } = tables.window(from, to);
  return { count, ...Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, [...values]])) };
}

/** What the tables say of every sample. */
function sampleAnswers(tables: TrackTables) {
  return range(0, tables.count).map((i) => {
    const dts = tables.dts(i);
    const offset = tables.chunkOffset(i);
    return {
      ...{ dts, pts: tables.pts(i), offset },
      sampleAt: [dts - 1, dts, dts + 1, dts + 0.5].map((ticks) => tables.sampleAt(ticks)),
      syncBefore: tables.syncBefore(i),
      syncAfter: tables.syncAfter(i),
      sampleAtOffset: [offset - 1, offset, offset + 1].map((at) => tables.sampleAtOffset(at)),
    };
  });
}

/** What the tables say of the whole, and where nothing is. */
function borderAnswers(tables: TrackTables) {
  const { count, behind } = tables;
  return {
    ...{ count, behind },
    sampleAt: [-Infinity, Infinity].map((ticks) => tables.sampleAt(ticks)),
    sampleAtOffset: [0, Infinity].map((at) => tables.sampleAtOffset(at)),
    sync: [tables.syncBefore(count), tables.syncAfter(count), tables.syncTimes()],
  };
}

/** Where a stretch begins and ends, as shares of all. */
const share = fc.integer({ min: 0, max: 100 }).map((percent) => percent / 100);
const shares = fc.tuple(share, share);
type Shares = readonly [number, number];

function stretch(shared: Shares, last: number): [number, number] {
  const [from = 0, to = 0] = shared.map((part) => Math.round(part * last)).toSorted((a, b) => a - b);
  return [from, to];
}

async function checkTrack(
  { track: { kind }, tables: column }: TrackView,
  sealed: TrackTables,
  stretches: readonly Shares[],
  file: FileHandle,
): Promise<void> {
  expect(borderAnswers(sealed)).toEqual(borderAnswers(column));
  expect(sampleAnswers(sealed)).toEqual(sampleAnswers(column));
  const chunks = borders(column);
  for (const shared of stretches) {
    const [from, to] = stretch(shared, column.count);
    expect(columnsOf(sealed, from, to)).toEqual(columnsOf(column, from, to));
    expect(sealed.sums(from, to)).toEqual(column.sums(from, to));
    expect(sealed.hasNegativeOffsets(from, to)).toBe(column.hasNegativeOffsets(from, to));
    const [first = 0, end = 0] = stretch(shared, chunks.length - 1).map((i) => chunks[i] ?? 0);
    if (end === first) continue;
    const entries = await entriesOf(sealed.block(first, end), kind, file);
    expect(entries).toEqual(await entriesOf(column.block(first, end), kind, file));
  }
}

/** These tests need no disk. */
const flush = async () => {};

async function check(folder: string, spec: SegmentSpec, stretches: readonly Shares[]): Promise<void> {
  const { contents, dataEnd } = contentsOf(spec);
  const file = await open(join(folder, 'segment'), 'w+');
  try {
    const trailer = await sealSegment(file, contents, {
      dataEnd,
      recovered: false,
      repairGeneration: 0,
      flush,
      native,
    });
    expect(await readTrailer(file, native)).toEqual(trailer);
    const sealed = await viewOfSealed(file, trailer, native);
    const column = viewOfContents(contents);
    expect(framesOf(await readSealed(file, trailer, native))).toEqual(framesOf(contents));
    expect(sealed.tracks.map(({ track }) => track)).toEqual(column.tracks.map(({ track }) => track));
    for (const [i, { tables }] of sealed.tracks.entries()) {
      expect(tables).toBeInstanceOf(SealedTables);
      const own = column.tracks[i];
      const summary = trailer.tracks[i];
      if (own === undefined || summary === undefined) throw new Error('a track is missing');
      await checkTrack(own, tables, stretches, file);
      const whole = await entriesOf(wholeTables(summary), own.track.kind, file);
      expect(whole).toEqual(await entriesOf(own.tables.block(0, own.tables.count), own.track.kind, file));
    }
  } finally {
    await file.close();
  }
}

test('columns and the sealed moov give the same answers, and the same entries for the same samples', () =>
  withTemporaryFolder(async (folder) => {
    const cases = fc.asyncProperty(segments, fc.array(shares, { minLength: 6, maxLength: 6 }), (spec, stretches) =>
      check(folder, spec, stretches),
    );
    await fc.assert(cases, { numRuns: RUNS, interruptAfterTimeLimit: LIMIT_MS, markInterruptAsFailure: true });
  }));
