/**
 * Turns a segment whose end record is durable into an ordinary MP4 (docs/format.md, "Sealing"): `moov` and trailer
 * behind the data; sync; the 16 bytes of the `mdat` header; sync. What comes before (end record, sync) and after
 * (catalog row, removal of the pseudo-header) is the caller's.
 */
import { encodeSegmentIndex, type SegmentIndex, SEGMENT_INDEX_USER_TYPE } from '../format/segment-index.ts';
import {
  encodeTrailer,
  NO_TABLE,
  type TableName,
  TABLE_NAMES,
  type TablePosition,
  type TrackCounters,
  type Trailer,
  type TrackSummary,
} from '../format/trailer.ts';
import { FootageError } from '../errors.ts';
import { box } from '../mp4/box.ts';
import { editsOf } from '../mp4/edits.ts';
import { type MovieSamples, type SampleMovie, type SampleTrackSpec, writeSampleMovie } from '../mp4/sample-movie.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { Native } from '../native-types.ts';
import type { SegmentContents, SegmentTrack } from './contents.ts';
import { type DiskFile, writeAll } from './disk.ts';
import { MDAT_HEADER_AT, sealedMdatHeader } from './layout.ts';
import { breaksOf, countersOf, type Extent, extentOf, ptsAt } from './summary.ts';

export interface SealOptions {
  /** End of the records: where `moov` goes. */
  readonly dataEnd: number;
  /** Sealed by recovery. */
  readonly recovered: boolean;
  readonly repairGeneration: number;
  /** Makes what was written durable. */
  readonly flush: () => Promise<void>;
  readonly native: Native;
}

export async function sealSegment(file: DiskFile, contents: SegmentContents, options: SealOptions): Promise<Trailer> {
  const { moov, trailer } = sealedTail(contents, options);
  await writeAll(file, [moov, encodeTrailer(trailer, options.native.crc32c)], options.dataEnd);
  await options.flush();
  await writeAll(file, [sealedMdatHeader(options.dataEnd)], MDAT_HEADER_AT);
  await options.flush();
  return trailer;
}

/** `moov` and trailer of a segment; a pure function of its contents. */
function sealedTail(
  contents: SegmentContents,
  { dataEnd, recovered, repairGeneration, native }: Omit<SealOptions, 'flush'>,
): { moov: Uint8Array; trailer: Trailer } {
  const extent = extentOf(contents);
  if (extent === undefined) {
    throw new FootageError('E_DAMAGED', `Segment ${contents.head.segment} presents nothing: it cannot be sealed.`);
  }
  const indexBody = encodeSegmentIndex(segmentIndexOf(contents));
  const indexBox = box('uuid', SEGMENT_INDEX_USER_TYPE, indexBody);
  const movie = sealedMovie(contents, extent, indexBox);
  const moov = movie.bytes;
  const indexAt = moov.byteLength - indexBody.byteLength;
  const counters = countersOf(contents, extent);
  const trailer: Trailer = {
    ...counters,
    head: contents.head,
    repairGeneration,
    recovered,
    moov: { offset: dataEnd, length: moov.byteLength, crc: native.crc32c(moov) },
    index: tablePosition(moov, indexAt, indexBody.byteLength, 1, dataEnd, native),
    tracks: withTables(counters.tracks, movie, dataEnd, native),
  };
  return { moov, trailer };
}

function tablePosition(
  moov: Uint8Array,
  at: number,
  length: number,
  count: number,
  moovOffset: number,
  native: Native,
): TablePosition {
  return { offset: moovOffset + at, length, count, crc: native.crc32c(moov.subarray(at, at + length)) };
}

function segmentIndexOf({ anchors, tracks }: SegmentContents): SegmentIndex {
  return { anchors, breaks: tracks.flatMap(({ samples }, track) => breaksOf(samples, track)) };
}

/** A track as its segment shows it: all tracks from one instant on. */
function sealedMovie(contents: SegmentContents, extent: Extent, index: Uint8Array): SampleMovie {
  const video = contents.tracks.findIndex(({ track, samples }) => track.kind === 'video' && samples.count > 0);
  const timescale = contents.tracks[video === -1 ? 0 : video]?.track.timescale ?? 1;
  const firsts = contents.tracks.map(({ samples }, i) => firstShown(samples, extent.tracks[i]?.firstPts ?? 0));
  const begin = (i: number) => (firsts[i] ?? 0) / (contents.tracks[i]?.track.timescale ?? 1);
  const filled = contents.tracks.flatMap(({ samples }, i) => (samples.count > 0 ? [i] : []));
  const earliest = Math.min(...filled.map(begin));
  // In the middle of a run, audio from before the cut belongs to the picture before it: it stays hidden here, unless it
  // is all there is.
  const endOf = (i: number) => (extent.tracks[i]?.endPts ?? 0) / (contents.tracks[i]?.track.timescale ?? 1);
  const hides = contents.head.sequence > 0 && video !== -1 && filled.every((i) => endOf(i) > begin(video));
  const origin = hides ? begin(video) : earliest;
  return writeSampleMovie({
    timescale,
    creationUtcMs: extent.startUtcMs,
    tracks: contents.tracks.flatMap((track, i) =>
      sealedTrack(track, { first: firsts[i] ?? 0, end: extent.tracks[i]?.endPts ?? 0 }, origin, timescale),
    ),
    extra: [index],
  });
}

/**
 * Where a track begins to be shown by its segment alone, ticks: at the first sync sample. Pictures presented before it
 * (leading pictures of an open GOP, the rest of a GOP that was cut) need references of the segment before.
 */
function firstShown(samples: SampleTable, firstPts: number): number {
  const sync = samples.sync.subarray(0, samples.count).indexOf(1);
  // Media time 0 is the first DTS: an edit cannot begin before it, even if a composition offset is negative.
  return Math.max(firstPts, samples.dts[0] ?? 0, sync === -1 ? -Infinity : ptsAt(samples, sync));
}

function sealedTrack(
  { track, samples }: SegmentTrack,
  shown: { readonly first: number; readonly end: number },
  originSeconds: number,
  movieTimescale: number,
): SampleTrackSpec[] {
  if (samples.count === 0) return [];
  const firstDts = samples.dts[0] ?? 0;
  const { timescale } = track;
  const edits = editsOf({
    timescale,
    movieTimescale,
    origin: Math.round(originSeconds * timescale) - firstDts,
    first: shown.first - firstDts,
    // All that is presented may end before the first DTS (negative composition offsets): an edit cannot.
    end: Math.max(shown.first, shown.end) - firstDts,
  });
  return [{ track, samples: movieSamples(samples), edits }];
}

function movieSamples(samples: SampleTable): MovieSamples {
  const { count, dts, duration, compositionOffset, size, sync, offset } = samples;
  const delta = new Float64Array(count);
  for (let i = 0; i + 1 < count; i++) delta[i] = (dts[i + 1] ?? 0) - (dts[i] ?? 0);
  if (count > 0) delta[count - 1] = duration[count - 1] ?? 0;
  return { count, delta, compositionOffset, size, sync, position: offset };
}

function withTables(
  counters: readonly TrackCounters[],
  movie: SampleMovie,
  moovOffset: number,
  native: Native,
): TrackSummary[] {
  let written = 0;
  return counters.map((track) => {
    const places = track.samples > 0 ? movie.tables[written++] : undefined;
    const position = (name: TableName): TablePosition => {
      const place = places?.[name];
      if (place === undefined) return NO_TABLE;
      return tablePosition(movie.bytes, place.offset, place.length, place.count, moovOffset, native);
    };
    const tables = Object.fromEntries(TABLE_NAMES.map((name) => [name, position(name)]));
    return { ...track, tables: tables as Record<TableName, TablePosition> };
  });
}
