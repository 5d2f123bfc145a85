/**
 * Reads movie fragments (`moof`, ISO/IEC 14496-12 8.8): adds the samples they describe to the tables of their tracks.
 *
 * It reads no media bytes and does not find fragments in a file.
 *
 * Invariants: as in `reader.ts`; besides, the DTS of a track strictly increase, and every sample that is kept lies
 * inside the file. A fragment may describe more than that, because its file is cut off: those samples are counted.
 */
import { FootageError } from '../errors.ts';
import type { TrackKind } from '../media.ts';
import { Cursor, boxes, childBodies, damaged, viewOf } from './box.ts';
import type { MovieTrack } from './reader.ts';
import { SampleTableBuilder } from './tables.ts';
import type { SampleTable } from './tables.ts';

/** What samples of a track are like unless their fragment says otherwise (`trex`, 8.8.3). */
export interface SampleDefaults {
  /** 1-based index into `stsd`. */
  readonly descriptionIndex: number;
  /** Ticks. */
  readonly duration: number;
  /** Bytes. */
  readonly size: number;
  readonly flags: number;
}

/** Where a box lies in its file, header included. */
export interface BoxPlace {
  readonly start: number;
  readonly end: number;
}

/** What may still be claimed by tables that need no bytes of their own. */
export interface Budget {
  samples: number;
  bytes: number;
}

/** What a fragment is read into. */
export interface FragmentTarget {
  /** By track_ID. */
  readonly tracks: ReadonlyMap<number, FragmentedTrack>;
  readonly fileSize: number;
  readonly budget: Budget;
}

/** Flags of `tfhd` (8.8.7.1). */
const BASE_DATA_OFFSET = 0x1;
const DESCRIPTION_INDEX = 0x2;
const DEFAULT_DURATION = 0x8;
const DEFAULT_SIZE = 0x10;
const DEFAULT_FLAGS = 0x20;
const DURATION_IS_EMPTY = 0x1_0000;
const DEFAULT_BASE_IS_MOOF = 0x2_0000;

/** Flags of `trun` (8.8.8.1). */
const DATA_OFFSET = 0x1;
const FIRST_SAMPLE_FLAGS = 0x4;
const SAMPLE_DURATION = 0x100;
const SAMPLE_SIZE = 0x200;
const SAMPLE_FLAGS = 0x400;
const SAMPLE_COMPOSITION_OFFSET = 0x800;
const SAMPLE_FIELDS = [SAMPLE_DURATION, SAMPLE_SIZE, SAMPLE_FLAGS, SAMPLE_COMPOSITION_OFFSET] as const;

/** sample_is_non_sync_sample, and sample_depends_on = 1: "depends on others" (8.8.3.1). */
const NON_SYNC = 0x1_0000;
const DEPENDS_ON_SHIFT = 24;
const DEPENDS_ON_OTHERS = 1;

/** The defaults of all tracks by track_ID, from the body of `mvex` (8.8.1); none without `mvex`. */
export function readTrackExtends(mvex: Uint8Array | undefined): Map<number, SampleDefaults> {
  const found = new Map<number, SampleDefaults>();
  if (mvex === undefined) return found;
  for (const { type, body } of boxes(mvex, 'mvex')) {
    if (type !== 'trex') continue;
    const cursor = new Cursor(body, 'trex');
    cursor.skip(4);
    const id = cursor.u32();
    const [descriptionIndex, duration, size, flags] = [cursor.u32(), cursor.u32(), cursor.u32(), cursor.u32()];
    found.set(id, { descriptionIndex, duration, size, flags });
  }
  return found;
}

/** The codec settings of a track change inside of a file. */
export function changedDescription(): FootageError {
  return new FootageError(
    'E_INPUT_UNSUPPORTED',
    'A track changes its codec settings inside the file; convert with: ffmpeg -i INPUT -c:v libx264 -c:a aac OUTPUT.mp4',
  );
}

/** The samples of a track that fragments add to: those of `moov` come first. */
export class FragmentedTrack {
  readonly defaults: SampleDefaults;
  /** Decode time of the next sample, ticks. */
  nextDts = 0;
  /** Samples that are not whole in the file, and all of the track behind them. */
  lost = 0;
  /** The highest version of `trun`. */
  compositionVersion = 0;
  /** Undefined for a track that is not used: only the places of its data matter, to other tracks. */
  readonly #kind: TrackKind | undefined;
  readonly #id: number;
  readonly #samples = new SampleTableBuilder();

  constructor(track: MovieTrack | { readonly id: number }, defaults: SampleDefaults) {
    this.#id = track.id;
    this.defaults = defaults;
    if (!('samples' in track)) return;
    this.#kind = track.kind;
    this.compositionVersion = track.compositionVersion;
    this.#copy(track.samples);
  }

  #copy({ count, dts, duration, compositionOffset, size, offset, sync }: SampleTable): void {
    for (let i = 0; i < count; i++) {
      const [start, ticks] = [dts[i] ?? 0, duration[i] ?? 0];
      this.#samples.push(start, ticks, compositionOffset[i] ?? 0, size[i] ?? 0, offset[i] ?? 0, sync[i] === 1);
      this.nextDts = start + ticks;
    }
  }

  /** The one sample description of a track cannot change. */
  checkDescription(index: number): void {
    if (this.#kind !== undefined && index !== this.defaults.descriptionIndex) throw changedDescription();
  }

  /** Adds the next sample. Times in ticks; `offset` and `size` are those of its bytes in a file of `fileSize`. */
  add(offset: number, size: number, duration: number, compositionOffset: number, flags: number, fileSize: number) {
    const dts = this.nextDts;
    this.nextDts += duration;
    if (this.#kind === undefined) return;
    if (this.lost > 0 || offset + size > fileSize) {
      this.lost += 1;
      return;
    }
    if (dts <= this.#lastDts()) this.#moveBack(dts);
    // Every frame of sound can be decoded alone; some writers leave the flags of video on it.
    const sync = this.#kind === 'audio' || isSync(flags);
    this.#samples.push(dts, duration, compositionOffset, size, offset, sync);
  }

  #lastDts(): number {
    const { count, dts } = this.#samples;
    return count === 0 ? -Infinity : (dts[count - 1] ?? 0);
  }

  /**
   * The next sample begins at `next`, where the last one does already. FFmpeg's `frag_every_frame` writes sound so: the
   * last one has no length and the decode time of its end; it began where its forerunner ended.
   */
  #moveBack(next: number): void {
    const { count, dts, duration } = this.#samples;
    const last = count - 1;
    const begin = (dts[last - 1] ?? next) + (duration[last - 1] ?? 0);
    if (dts[last] !== next || duration[last] !== 0 || begin >= next) throw timesGoBack();
    dts[last] = begin;
    duration[last] = next - begin;
  }

  /** The samples added since the last call, of a stream that is read as it comes; valid until more are added. */
  take(): SampleTable {
    const { count, dts, duration, compositionOffset, size, offset, sync } = this.#samples;
    this.#samples.clear();
    return { count, dts, duration, compositionOffset, size, offset, sync };
  }

  /** The same track with the samples of its fragments. */
  extend(track: MovieTrack): MovieTrack {
    fillDurations(this.#samples);
    return { ...track, samples: this.#samples, compositionVersion: this.compositionVersion };
  }

  /** Says what was lost, if anything was. */
  lostLine(): string[] {
    if (this.lost === 0) return [];
    return [`the last ${this.lost} samples of track ${this.#id} (${this.#kind}), which the file does not hold whole`];
  }
}

function isSync(flags: number): boolean {
  return (flags & NON_SYNC) === 0 && ((flags >>> DEPENDS_ON_SHIFT) & 3) !== DEPENDS_ON_OTHERS;
}

function timesGoBack(): FootageError {
  return new FootageError(
    'E_INPUT_UNSUPPORTED',
    'The decode times of the file go back from one fragment to another, as in files of several recordings; ' +
      'import them one by one, or rewrite the file with: ffmpeg -i INPUT -c copy OUTPUT.mp4',
  );
}

/** Live sources write a duration of 0 where they do not know it yet: until the next sample, or as long as before. */
function fillDurations({ count, dts, duration }: SampleTableBuilder): void {
  for (let i = 0; i < count; i++) {
    if (duration[i] !== 0) continue;
    const until = i + 1 < count ? (dts[i + 1] ?? 0) - (dts[i] ?? 0) : duration[i - 1];
    duration[i] = until ?? 0;
  }
}

/** Adds the samples of one fragment, given the body of `moof` (8.8.4). */
export function readFragment(moof: Uint8Array, place: BoxPlace, target: FragmentTarget): void {
  let dataEnd = place.start;
  for (const { type, body } of boxes(moof, 'moof')) {
    if (type === 'traf') dataEnd = readTrackFragment(body, place, dataEnd, target);
  }
}

/** What `tfhd` says. */
interface TrackFragment {
  readonly track: FragmentedTrack;
  /** What the data offsets of its runs count from. */
  readonly base: number;
  readonly defaults: SampleDefaults;
  /** Ticks in which the track has no samples. */
  readonly emptyDuration: number;
  readonly moof: BoxPlace;
}

/** Adds the samples of one `traf` (8.8.6); returns where its data ends. */
function readTrackFragment(traf: Uint8Array, moof: BoxPlace, implicitBase: number, target: FragmentTarget): number {
  const children = childBodies(traf, 'traf');
  const tfhd = children.get('tfhd');
  if (tfhd === undefined) throw damaged(`'traf' has no 'tfhd'`);
  const tfdt = children.get('tfdt');
  const fragment = readTrackHeader(tfhd, moof, implicitBase, target);
  if (tfdt !== undefined) fragment.track.nextDts = decodeTimeOf(tfdt);
  fragment.track.nextDts += fragment.emptyDuration;
  let dataEnd = fragment.base;
  for (const { type, body } of boxes(traf, 'traf')) {
    if (type === 'trun') dataEnd = readRun(body, fragment, dataEnd, target);
  }
  return dataEnd;
}

/** `tfhd` (8.8.7). */
function readTrackHeader(
  tfhd: Uint8Array,
  moof: BoxPlace,
  implicitBase: number,
  { tracks }: FragmentTarget,
): TrackFragment {
  const cursor = new Cursor(tfhd, 'tfhd');
  const flags = cursor.u32();
  const id = cursor.u32();
  const track = tracks.get(id);
  if (track === undefined) throw damaged(`a fragment belongs to track ${id}, of which 'mvex' says nothing`);
  const base = (flags & BASE_DATA_OFFSET) !== 0 ? cursor.u64() : undefined;
  const own = (flag: number, otherwise: number): number => ((flags & flag) === 0 ? otherwise : cursor.u32());
  const descriptionIndex = own(DESCRIPTION_INDEX, track.defaults.descriptionIndex);
  const duration = own(DEFAULT_DURATION, track.defaults.duration);
  const size = own(DEFAULT_SIZE, track.defaults.size);
  const sampleFlags = own(DEFAULT_FLAGS, track.defaults.flags);
  track.checkDescription(descriptionIndex);
  return {
    track,
    base: base ?? ((flags & DEFAULT_BASE_IS_MOOF) === 0 ? implicitBase : moof.start),
    defaults: { descriptionIndex, duration, size, flags: sampleFlags },
    emptyDuration: (flags & DURATION_IS_EMPTY) === 0 ? 0 : duration,
    moof,
  };
}

/** `tfdt` (8.8.12), in ticks. */
function decodeTimeOf(tfdt: Uint8Array): number {
  const cursor = new Cursor(tfdt, 'tfdt');
  const version = cursor.u8();
  cursor.skip(3);
  return version === 1 ? cursor.u64() : cursor.u32();
}

/** Adds the samples of one `trun` (8.8.8); returns where its data ends. */
function readRun(trun: Uint8Array, fragment: TrackFragment, dataEnd: number, target: FragmentTarget): number {
  const { track, defaults, base, moof } = fragment;
  const cursor = new Cursor(trun, 'trun');
  track.compositionVersion = Math.max(track.compositionVersion, cursor.u8());
  const flags = cursor.u24();
  const count = cursor.u32();
  let offset = (flags & DATA_OFFSET) === 0 ? dataEnd : base + cursor.i32();
  const firstFlags = (flags & FIRST_SAMPLE_FLAGS) === 0 ? undefined : cursor.u32();
  const view = viewOf(cursor.rest());
  const left = Math.max(0, target.fileSize - offset);
  const mediaBytes = defaults.size === 0 ? count : Math.min(count * defaults.size, left);
  checkRun({ count, flags, fieldBytes: view.byteLength, mediaBytes }, target.budget);
  if (count > 0 && (offset < 0 || (offset >= moof.start && offset < moof.end))) {
    throw damaged(`samples of the fragment at byte ${moof.start} should lie at byte ${offset}`);
  }
  let at = 0;
  const own = (flag: number, otherwise: number): number => {
    if ((flags & flag) === 0) return otherwise;
    at += 4;
    return view.getUint32(at - 4);
  };
  for (let i = 0; i < count; i++) {
    const duration = own(SAMPLE_DURATION, defaults.duration);
    const size = own(SAMPLE_SIZE, defaults.size);
    const sampleFlags = own(SAMPLE_FLAGS, i === 0 ? (firstFlags ?? defaults.flags) : defaults.flags);
    // Version 0 is read as signed too, as in `ctts`.
    const compositionOffset = own(SAMPLE_COMPOSITION_OFFSET, 0) | 0;
    track.add(offset, size, duration, compositionOffset, sampleFlags, target.fileSize);
    offset += size;
  }
  if (!Number.isSafeInteger(track.nextDts)) throw damaged(`times in 'trun' exceed 2^53`);
  return offset;
}

/**
 * A run has a field for each of its samples; or their number, and the bytes of them that are in the file, are taken from
 * the budget. A sample without bytes counts as one byte.
 */
function checkRun(run: { count: number; flags: number; fieldBytes: number; mediaBytes: number }, budget: Budget): void {
  const sampleBytes = 4 * SAMPLE_FIELDS.filter((field) => (run.flags & field) !== 0).length;
  if (run.count * sampleBytes > run.fieldBytes) throw damaged(`'trun' claims ${run.count} samples but is too short`);
  if (sampleBytes > 0) return;
  budget.samples -= run.count;
  budget.bytes -= run.mediaBytes;
  if (budget.samples >= 0 && budget.bytes >= 0) return;
  throw new FootageError('E_INPUT_UNSUPPORTED', 'The file has more samples of equal size than can be handled.');
}
