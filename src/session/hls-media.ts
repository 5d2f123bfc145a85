/**
 * The files that playlists of HLS name: a unit of a segment as fragmented MP4, whose media is one stretch of the
 * segment's file as it lies there, delimiters included; and the init segment that goes before it.
 *
 * Both are decided by their names: a name never stands for other bytes.
 */
import { createHash } from 'node:crypto';
import {
  type FragmentSpec,
  STYP,
  type TrackFragmentSpec,
  writeFragment,
  writeInitSegment,
} from '../mp4/fragment-writer.ts';
import type { SampleTable } from '../mp4/tables.ts';
import type { SegmentView, TrackView } from '../segment/view.ts';
import { givenTracks, type HlsTracks, samplesIn, type Stretch, stretchOf } from './hls-units.ts';
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
export function mediaOf(
  file: UnitFile,
  choice: HlsTracks,
  { from, to }: { readonly from: number; readonly to: number },
): VirtualFile | undefined {
  const given = givenTracks(file.view, choice);
  const stretch = stretchOf(file.view, given, { from, to }, file.ended);
  if (stretch === undefined) return undefined;
  const identity = [RENDERER_VERSION, file.id, file.repairGeneration, choice, from, to];
  const lastModifiedUtcMs = Math.ceil(endOf(file.view, given[0] ?? 0, to) / 1000) * 1000;
  const slices: Slice[] = [
    { kind: 'bytes', data: STYP },
    { kind: 'bytes', data: writeFragment(fragmentOf(file.view, given, stretch, from)) },
    { kind: 'file', path: file.path, offset: stretch.from, length: stretch.to - stretch.from },
  ];
  return new VirtualFile(slices, etagOf(JSON.stringify(identity)), lastModifiedUtcMs);
}

/** Wall time at which the sample before `to` ends. */
function endOf({ tracks, clocks }: SegmentView, index: number, to: number): number {
  const last = tracks[index]?.tables.window(to - 1, to);
  const dts = last?.dts[0] ?? 0;
  return clocks[index]?.utcMs(dts + (last?.duration[0] ?? 0), dts) ?? 0;
}

function fragmentOf(view: SegmentView, given: readonly number[], stretch: Stretch, from: number): FragmentSpec {
  const present = given.flatMap((index) => {
    const track = view.tracks[index];
    const samples = track && expressible(track, samplesIn(track, stretch));
    return track === undefined || samples === undefined || samples.from >= samples.to ? [] : [{ track, samples }];
  });
  return {
    sequence: from + 1,
    mediaPosition: stretch.from,
    mediaBytes: stretch.to - stretch.from,
    tracks: present.map(({ track, samples }, i) => trackFragment(track, samples, i + 1)),
  };
}

/** Samples [from, to). */
type Samples = ReturnType<typeof samplesIn>;

/** Without sound that was over long before time 0: its decode times would be negative. */
function expressible({ track, tables }: TrackView, { from, to }: Samples): Samples {
  return { from: Math.max(from, tables.sampleAt(-TIME_OFFSET_S * track.timescale)), to };
}

function trackFragment({ track, tables }: TrackView, { from, to }: Samples, trackId: number): TrackFragmentSpec {
  const window = tables.window(from, to);
  const { count, dts, duration, size, offset, compositionOffset, sync } = window;
  const delay = delayOf(window);
  return {
    ...{ trackId, kind: track.kind, from: 0, to: count, size, sync },
    compositionOffset: compositionOffset.map((ticks) => ticks - delay),
    baseDecodeTime: (dts[0] ?? 0) + delay + TIME_OFFSET_S * track.timescale,
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
