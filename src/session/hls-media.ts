/**
 * The files that playlists of HLS name: a unit of a segment as fragmented MP4, whose media is one stretch of the
 * segment's file as it lies there, delimiters included; and the init segment that goes before it.
 *
 * Both are decided by their names: a name never stands for other bytes.
 */
import { createHash } from 'node:crypto';
import type { Track } from '../media.ts';
import { concatBytes } from '../mp4/box.ts';
import { STYP, type TrackFragmentSpec, writeFragment, writeInitSegment } from '../mp4/fragment-writer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { SegmentView, TrackView } from '../segment/view.ts';
import { earliestSound, type Fill, filledBefore, fillsOf, type Silence, silenceOf, withFills } from './hls-silence.ts';
import { givenTracks, type HlsTracks, type Samples, samplesIn, type Stretch, stretchOf } from './hls-units.ts';
import { type Slice, VirtualFile } from './virtual-file.ts';

/** Part of every ETag: raised whenever the same name would give other bytes than before. */
const RENDERER_VERSION = 1;

/** Added to every time: priming before time 0 of a run is less than this long, and decode times cannot be negative. */
const TIME_OFFSET_S = 16;

/** Whose unit it is. */
export interface UnitFile {
  /** UUID of the segment. */
  readonly id: string;
  readonly repairGeneration: number;
  /** Absolute path. */
  readonly path: string;
  /** Nothing comes behind what the view shows. */
  readonly ended: boolean;
  readonly view: SegmentView;
}

/** Undefined if the segment has no such unit (yet). */
export function mediaOf(file: UnitFile, choice: HlsTracks, { from, to }: Samples): VirtualFile | undefined {
  const { view, ended, path } = file;
  const given = givenTracks(view, choice, ended);
  const stretch = stretchOf(view, given, { from, to }, ended);
  const [leading, sound] = given.map((index) => view.tracks[index]);
  if (stretch === undefined || leading === undefined) return undefined;
  const pictures = leading.tables.window(from, to);
  const factor = (sound?.track.timescale ?? 1) / leading.track.timescale;
  const own = sound && filled(sound, stretch, shownIn(pictures, factor), view.head.sequence > 0);
  const before = (offset: number) => filledBefore(own?.fills ?? [], own?.silence, offset);
  const tracks = [
    fragmentTrack(leading.track, { ...pictures, offset: pictures.offset.map((at) => at + before(at)) }, 1),
  ];
  if (own !== undefined && own.samples.count > 0) tracks.push(fragmentTrack(own.track, own.samples, 2));
  const mediaBytes = stretch.to - stretch.from + before(stretch.to);
  const header = writeFragment({ sequence: from + 1, mediaPosition: stretch.from, mediaBytes, tracks });
  const identity = [RENDERER_VERSION, file.id, file.repairGeneration, choice, from, to];
  const slices = [bytes(STYP), bytes(header), ...mediaSlices(path, stretch, own)];
  return new VirtualFile(slices, etagOf(JSON.stringify(identity)), lastModifiedOf(view, given[0] ?? 0, pictures));
}

const bytes = (data: Uint8Array): Slice => ({ kind: 'bytes', data });

/** Wall time at which the last sample ends, rounded up to a second. */
function lastModifiedOf({ clocks }: SegmentView, index: number, { count, dts, duration }: SampleTable): number {
  const last = dts[count - 1] ?? 0;
  const utcMs = clocks[index]?.utcMs(last + (duration[count - 1] ?? 0), last) ?? 0;
  return Math.ceil(utcMs / 1000) * 1000;
}

/** The sound of a unit. */
interface Filled {
  readonly track: Track;
  readonly samples: SampleTable;
  readonly fills: readonly Fill[];
  readonly silence: Silence | undefined;
}

function filled({ track, tables }: TrackView, stretch: Stretch, shown: Samples, goesOn: boolean): Filled {
  const { from, to } = samplesIn({ track, tables }, stretch);
  const silence = silenceOf(track);
  const last = from === 0 ? undefined : tables.window(from - 1, from);
  const previousEnd = last && (last.dts[0] ?? 0) + (last.duration[0] ?? 0);
  const earliest = silence === undefined ? -Infinity : earliestSound(track.timescale, shown, previousEnd, goesOn);
  // Sound that was over long before time 0 has no decode time that could be written.
  const firstTicks = Math.max(earliest, -TIME_OFFSET_S * track.timescale);
  const samples = tables.window(Math.min(to, Math.max(from, tables.sampleAt(Math.ceil(firstTicks)))), to);
  if (silence === undefined) return { track, samples, silence, fills: [] };
  const fills = fillsOf(samples, track.timescale, stretch, shown, silence.ticks);
  return { track, silence, fills, samples: withFills(samples, fills, silence) };
}

/** When pictures are shown, in ticks of which each of theirs is `factor`. */
function shownIn({ count, dts, compositionOffset, duration }: SampleTable, factor: number): Samples {
  let [from, to] = [Infinity, -Infinity];
  for (let i = 0; i < count; i++) {
    const pts = (dts[i] ?? 0) + (compositionOffset[i] ?? 0);
    from = Math.min(from, pts);
    to = Math.max(to, pts + (duration[i] ?? 0));
  }
  return { from: from * factor, to: to * factor };
}

/** The stretch of the file, with silence in between. */
function mediaSlices(path: string, stretch: Stretch, fill: Filled | undefined): Slice[] {
  const slices: Slice[] = [];
  let { from } = stretch;
  const upTo = (offset: number) => {
    if (offset > from) slices.push({ kind: 'file', path, offset: from, length: offset - from });
    from = offset;
  };
  const data = fill?.silence?.data ?? new Uint8Array(0);
  for (const { at, count } of fill?.fills ?? []) {
    upTo(at);
    slices.push(bytes(concatBytes(Array.from({ length: count }, () => data))));
  }
  upTo(stretch.to);
  return slices;
}

function fragmentTrack({ kind, timescale }: Track, samples: SampleTable, trackId: number): TrackFragmentSpec {
  const { count, dts, duration, size, offset, compositionOffset, sync } = samples;
  const delay = delayOf(samples);
  return {
    ...{ trackId, kind, from: 0, to: count, size, sync },
    compositionOffset: compositionOffset.map((ticks) => ticks - delay),
    baseDecodeTime: (dts[0] ?? 0) + delay + TIME_OFFSET_S * timescale,
    delta: (i) => (i + 1 < count ? (dts[i + 1] ?? 0) - (dts[i] ?? 0) : (duration[i] ?? 0)),
    position: (i) => offset[i] ?? 0,
  };
}

/**
 * What is added to the decode times of a unit and taken from its composition offsets, ticks: so that the first decode time
 * is that of the first picture presented, as CMAF has it. Players that put a unit in its place by its decode time then
 * put its pictures there, with no hole before them. Where pictures come at a constant rate it is the same for all units.
 */
function delayOf({ count, dts, compositionOffset }: SampleTable): number {
  let delay = Infinity;
  for (let i = 0; i < count; i++) delay = Math.min(delay, (dts[i] ?? 0) + (compositionOffset[i] ?? 0) - (dts[0] ?? 0));
  return delay;
}

/** An init segment; its digest is its name. */
export interface Init {
  readonly digest: string;
  readonly bytes: Uint8Array;
  /** RFC 6381. */
  readonly codecs: readonly string[];
  readonly width: number;
  readonly height: number;
}

/** The init segment of units with these tracks, the leading one first. */
export function initOf({ tracks }: SegmentView, indexes: readonly number[]): Init {
  const own = indexes.flatMap((index) => tracks[index]?.track ?? []);
  const [leading] = own;
  const bytes = writeInitSegment({
    timescale: leading?.timescale ?? 1,
    // One configuration has one init segment, whenever it was recorded.
    creationUtcMs: 0,
    tracks: own.map((track) => ({ track, edits: [] })),
  });
  const digest = createHash('sha256').update(bytes).digest('hex').slice(0, 16);
  return {
    digest,
    bytes,
    codecs: own.map(({ codec }) => codec),
    width: leading?.width ?? 0,
    height: leading?.height ?? 0,
  };
}

export function initFile({ bytes, digest }: Init): VirtualFile {
  return new VirtualFile([{ kind: 'bytes', data: bytes }], etagOf(digest), 0);
}

export function etagOf(identity: string): string {
  return `"${createHash('sha256').update(identity).digest('hex').slice(0, 32)}"`;
}
