/**
 * A segment that a plan looks into, whichever way it is read: clocks, tracks, and their tables. Of a sealed segment only
 * what is asked for is unfolded, unless its samples do not follow each other: then, as for an open one, all of them.
 */
import { FootageError } from '../errors.ts';
import { TrackClock } from '../format/clock.ts';
import type { Anchor, Head } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Track } from '../media.ts';
import { parseStsd, writeSampleEntry } from '../mp4/sample-entry.ts';
import type { Native } from '../native-types.ts';
import { clocksOf, type SegmentContents } from './contents.ts';
import type { DiskFile } from './disk.ts';
import { configurations, readMoov, readSealed } from './reader.ts';
import { ColumnTables } from './column-tables.ts';
import { SealedTables } from './sealed-tables.ts';
import type { TrackTables } from './track-tables.ts';

export interface TrackView {
  readonly track: Track;
  readonly tables: TrackTables;
}

export interface SegmentView {
  readonly head: Head;
  readonly tracks: readonly TrackView[];
  readonly clocks: readonly TrackClock[];
  /** A sample does not begin at its forerunner's end, or comes behind a hole: as the trailer tells it. */
  readonly discontinuous: boolean;
  /** Samples follow each other and wall time follows media time: what lies between two windows need not be looked at. */
  readonly steady: boolean;
}

/** Wall time that departs from its head's anchor by less than this is that of a camera that drifts. */
const DRIFT_MS = 500;

/** The view of tables in memory. */
export function viewOfContents(contents: SegmentContents): SegmentView {
  const { head, anchors, ended } = contents;
  const tracks = contents.tracks.map(({ track, samples }) => ({
    track: canonicalTrack(track),
    tables: new ColumnTables(samples, ended),
  }));
  const breaks = contents.tracks.some(({ samples }) => hasBreak(samples));
  const discontinuous = breaks || anchors.some(({ discontinuity }) => discontinuity);
  const steady = !discontinuous && isSteady(head, anchors);
  return { head, tracks, clocks: clocksOf(contents), discontinuous, steady };
}

function hasBreak({ count, dts, duration }: SegmentContents['tracks'][number]['samples']): boolean {
  for (let i = 0; i + 1 < count; i++) if ((dts[i] ?? 0) + (duration[i] ?? 0) !== dts[i + 1]) return true;
  return false;
}

/** Whether all anchors lie near the line through the head's. */
export function isSteady(head: Head, anchors: readonly Anchor[]): boolean {
  const line = new TrackClock(head, [], head.anchor.track);
  const toHead = (track: number) =>
    (head.tracks[head.anchor.track]?.timescale ?? 1) / (head.tracks[track]?.timescale ?? 1);
  return anchors.every(({ track, dts, utcMs, discontinuity }) => {
    const ticks = dts * toHead(track);
    return !discontinuity && Math.abs(line.utcMs(ticks, ticks) - utcMs) < DRIFT_MS;
  });
}

/**
 * The view of a sealed segment.
 * @throws FootageError E_DAMAGED when `moov` and trailer do not hold together.
 */
export async function viewOfSealed(file: DiskFile, trailer: Trailer, native: Native): Promise<SegmentView> {
  const { head } = trailer;
  if (trailer.discontinuous) return viewOfContents(await readSealed(file, trailer, native));
  const { moov, index } = await readMoov(file, trailer, native);
  if (!isSteady(head, index.anchors)) return viewOfContents(await readSealed(file, trailer, native));
  const empty = trailer.tracks.some(({ samples }) => samples === 0) ? await configurations(file, head, native) : [];
  const tracks = trailer.tracks.map((summary, i): TrackView => {
    const { kind = 'video', timescale = 1 } = head.tracks[i] ?? {};
    const { offset, length } = summary.tables.stsd;
    const entry = moov.subarray(offset - trailer.moov.offset, offset - trailer.moov.offset + length);
    const track = summary.samples === 0 ? empty[i] : trackOfEntry(entry, kind, timescale);
    if (track === undefined) throw new FootageError('E_DAMAGED', `Segment ${head.segment} lacks track ${i}.`);
    return { track, tables: new SealedTables(moov, trailer.moov.offset, summary) };
  });
  return { head, tracks, clocks: clocksOf({ head, anchors: index.anchors }), discontinuous: false, steady: true };
}

/**
 * The track as it reads back from a sealed segment. What a source says of its track (spelling of the codec, channels)
 * may differ from what the decoder configuration says; only the latter counts, before and after a segment is sealed.
 */
function canonicalTrack(track: Track): Track {
  return trackOfEntry(writeSampleEntry(track), track.kind, track.timescale);
}

/** The track that a sample entry (the entries of `stsd`) describes. */
export function trackOfEntry(entry: Uint8Array, kind: Track['kind'], timescale: number): Track {
  const stsd = new Uint8Array(8 + entry.byteLength);
  stsd[7] = 1;
  stsd.set(entry, 8);
  return { ...parseStsd(stsd, kind).track, timescale };
}
