/**
 * Writes fragmented MP4 (ISO/IEC 14496-12 8.8): the init segment, and before each stretch of media a `moof` with the
 * header of its `mdat`.
 *
 * Between the samples of a segment file lie delimiters, and whole stretches of it are sent as they are: so each run of
 * samples without other bytes in between is a `trun` of its own that says where it begins. Which fields a sample has
 * depends on the kind of its track alone, so the length of a `moof` follows from counts, before a sample is looked at.
 *
 * Pure functions over columns of samples. A value that does not fit its field is a RangeError, nothing is cut short.
 */
import type { Track, TrackKind } from '../media.ts';
import { box, boxHeader, concatBytes, fourcc, fullBox, u16, u32, u64, viewOf } from './box.ts';
import { type Edit, type TableSpec, writeMovie } from './movie.ts';
import { writeSampleEntry } from './sample-entry.ts';
import { chunkStarts, setUint64 } from './table-writer.ts';

/** The file type of an init segment: default-base-is-moof and 64-bit decode times are of `iso6`. */
const FRAGMENTED_FTYP = box('ftyp', fourcc('iso6'), u32(0), fourcc('iso6'), fourcc('mp41'));

/** The segment type that begins a media segment which is sent as a file of its own (8.16.2), as HLS does. */
export const STYP = box('styp', fourcc('msdh'), u32(0), fourcc('msdh'), fourcc('iso6'));

export interface InitTrack {
  readonly track: Track;
  /** Usually none. A duration of 0 lasts to the end of the fragments. */
  readonly edits: readonly Edit[];
  /** What frames of a `DefaultRun` are like. */
  readonly defaultFrame?: { readonly ticks: number; readonly bytes: number };
}

export interface InitSegmentSpec {
  /** Ticks per second of the edits and of `durationTicks`. */
  readonly timescale: number;
  /** Wall time that is written as creation time, Unix ms. */
  readonly creationUtcMs: number;
  /** Track i gets the track_ID i + 1. */
  readonly tracks: readonly InitTrack[];
  /** Length of all fragments together, where it is known: players show it before they have them (`mehd`, 8.8.2). */
  readonly durationTicks?: number;
}

/** sample_flags (8.8.3.1): depends on nothing; depends on others and is no sync sample. */
const SYNC_FLAGS = 0x0200_0000;
const NON_SYNC_FLAGS = 0x0101_0000;

/** `ftyp` and a `moov` without samples. */
export function writeInitSegment(spec: InitSegmentSpec): Uint8Array {
  const { timescale, creationUtcMs, durationTicks } = spec;
  const tracks = spec.tracks.map(({ track, edits }) => ({
    track,
    edits,
    durationTicks: 0,
    tables: emptyTables(track),
  }));
  const mehd = durationTicks === undefined ? [] : [fullBox('mehd', 1, 0, u64(durationTicks))];
  const mvex = box('mvex', ...mehd, ...spec.tracks.map((track, i) => trackExtends(track, i + 1)));
  return concatBytes([FRAGMENTED_FTYP, ...writeMovie({ timescale, creationUtcMs, tracks, extra: [mvex] })]);
}

/** The tables that every track must have (8.5.1), without entries but for the sample description. */
function emptyTables(track: Track) {
  const none: TableSpec<never> = { version: 0, count: 0, parts: [] };
  const stsd = { version: 0, count: 1, parts: [writeSampleEntry(track)] };
  return { stsd, stts: none, stsz: none, stsc: none, co64: none };
}

/** `trex` (8.8.3). Video says for each sample whether it is a sync sample; of sound all are. */
function trackExtends({ track, defaultFrame }: InitTrack, id: number): Uint8Array {
  const { ticks, bytes } = defaultFrame ?? { ticks: 0, bytes: 0 };
  const flags = track.kind === 'audio' ? SYNC_FLAGS : NON_SYNC_FLAGS;
  return fullBox('trex', 0, 0, u32(id), u32(1), u32(ticks), u32(bytes), u32(flags));
}

/** Samples [from, to) of a track in one fragment. */
export interface TrackFragmentSpec {
  readonly trackId: number;
  readonly kind: TrackKind;
  /** Decode time of the first sample, ticks; never negative. */
  readonly baseDecodeTime: number;
  readonly from: number;
  readonly to: number;
  /** Ticks from a sample's decode time to that of the next one in the answer. */
  readonly delta: (i: number) => number;
  /** Where a sample's first byte lies; counted as `FragmentSpec.mediaPosition` is. */
  readonly position: (i: number) => number;
  readonly size: Uint32Array;
  /** Video only: ticks, signed. */
  readonly compositionOffset: Int32Array;
  /** Video only: 1 = sync sample. */
  readonly sync: Uint8Array;
  /** The track is in the fragment even without samples, so that the length depends on counts of all fragments alone. */
  readonly always?: boolean;
  /** Each sample is a run of its own, wherever it lies. */
  readonly everySample?: boolean;
  /** By the samples that they come before; `baseDecodeTime` is that of the first frame of all. */
  readonly defaultRuns?: readonly DefaultRun[];
}

/** Frames one behind the other that are like the track's default. */
export interface DefaultRun {
  /** The sample, one of the fragment, that follows them. */
  readonly before: number;
  readonly count: number;
  /** Where they begin; counted as `FragmentSpec.mediaPosition` is. */
  readonly position: number;
}

export interface FragmentSpec {
  /** Number of the fragment, from 1 on. */
  readonly sequence: number;
  /** Position of the first byte of the media, which follows the fragment's header. */
  readonly mediaPosition: number;
  /** Bytes of media that follow. */
  readonly mediaBytes: number;
  readonly tracks: readonly TrackFragmentSpec[];
}

/** What the length of a fragment's header depends on, per track. */
export interface FragmentCounts {
  readonly kind: TrackKind;
  readonly samples: number;
  /** Stretches of samples without other bytes in between; those of default frames count as well. */
  readonly runs: number;
  readonly always?: boolean;
}

const typeWord = (type: string) => viewOf(fourcc(type)).getUint32(0);
const MOOF = typeWord('moof');
const MFHD = typeWord('mfhd');
const TRAF = typeWord('traf');
const TFHD = typeWord('tfhd');
const TFDT = typeWord('tfdt');
const TRUN = typeWord('trun');

const BOX_BYTES = 8;
const MFHD_BYTES = BOX_BYTES + 4 + 4;
const TFHD_BYTES = BOX_BYTES + 4 + 4;
const TFDT_BYTES = BOX_BYTES + 4 + 8;
const TRUN_BYTES = BOX_BYTES + 4 + 4 + 4;
/** Duration, size, flags, composition offset; of sound duration and size. */
const SAMPLE_BYTES = { video: 16, audio: 8 } as const;

const DEFAULT_BASE_IS_MOOF = 0x2_0000;
const TFDT_VERSION = 0x0100_0000;
/** Version 1 (signed composition offsets); a data offset and the fields of `SAMPLE_BYTES`. */
const TRUN_HEAD = { video: 0x0100_0f01, audio: 0x0100_0301 } as const;
/** A data offset, and no field of a sample. */
const DEFAULT_TRUN_HEAD = 0x0100_0001;

/** Bytes that `writeFragment` makes: `moof` and the header of `mdat`. */
export function fragmentLength(tracks: readonly FragmentCounts[]): number {
  return moofBytes(tracks) + BOX_BYTES;
}

function moofBytes(tracks: readonly FragmentCounts[]): number {
  return tracks.reduce((sum, track) => sum + trafBytes(track), BOX_BYTES + MFHD_BYTES);
}

/** A track without samples is not in the fragment, unless it always is. */
function trafBytes({ kind, samples, runs, always }: FragmentCounts): number {
  if (samples === 0 && always !== true) return 0;
  return BOX_BYTES + TFHD_BYTES + TFDT_BYTES + runs * TRUN_BYTES + samples * SAMPLE_BYTES[kind];
}

/** A track of a fragment with the first samples of its runs, and what of it the length depends on. */
interface CountedTrack {
  readonly track: TrackFragmentSpec;
  readonly starts: Uint32Array;
  readonly counts: FragmentCounts;
}

function counted(track: TrackFragmentSpec): CountedTrack {
  const starts = runStarts(track);
  const runs = starts.length + (track.defaultRuns?.length ?? 0);
  const { kind, from, to, always = false } = track;
  return { track, starts, counts: { kind, samples: to - from, runs, always } };
}

function runStarts({ position, size, from, to, everySample, defaultRuns = [] }: TrackFragmentSpec): Uint32Array {
  if (everySample === true) return Uint32Array.from({ length: to - from }, (_, i) => from + i);
  const starts = chunkStarts(position, size, from, to);
  if (defaultRuns.length === 0) return starts;
  return Uint32Array.from(new Set([...starts, ...defaultRuns.map(({ before }) => before)])).toSorted();
}

/** Bytes that `writeFragment` makes of this. */
export function headerLength({ tracks }: FragmentSpec): number {
  return fragmentLength(tracks.map((track) => counted(track).counts));
}

/** The `moof` of one stretch of media, and the header of the `mdat` that the media is put into. */
export function writeFragment(spec: FragmentSpec): Uint8Array {
  const tracks = spec.tracks.map(counted);
  const counts = tracks.map((track) => track.counts);
  const length = fragmentLength(counts);
  const out = new FieldWriter(length);
  out.words(moofBytes(counts), MOOF);
  out.words(MFHD_BYTES, MFHD, 0, spec.sequence);
  for (const { track, starts, counts: own } of tracks) {
    const bytes = trafBytes(own);
    if (bytes > 0) writeTrackFragment(out, track, starts, { bytes, media: length - spec.mediaPosition });
  }
  out.bytes(mediaHeader(spec.mediaBytes));
  return out.finish();
}

/** Offsets into media are signed 32-bit numbers, so a fragment never needs a 64-bit size. */
function mediaHeader(mediaBytes: number): Uint8Array {
  if (mediaBytes > 0x7fff_ffff) throw new RangeError(`a fragment of ${mediaBytes} bytes is beyond 2 GiB`);
  return boxHeader('mdat', mediaBytes);
}

/** `traf` (8.8.6). `media` is what leads from positions to offsets, counted from the first byte of `moof`. */
function writeTrackFragment(
  out: FieldWriter,
  track: TrackFragmentSpec,
  starts: Uint32Array,
  { bytes, media }: { readonly bytes: number; readonly media: number },
): void {
  out.words(bytes, TRAF);
  out.words(TFHD_BYTES, TFHD, DEFAULT_BASE_IS_MOOF, track.trackId);
  out.words(TFDT_BYTES, TFDT, TFDT_VERSION);
  out.long(track.baseDecodeTime);
  starts.forEach((from, run) => {
    for (const frames of track.defaultRuns ?? []) {
      if (frames.before === from) writeDefaultRun(out, frames.count, frames.position + media);
    }
    writeRun(out, track, { from, to: starts[run + 1] ?? track.to, offset: track.position(from) + media });
  });
}

/** `trun` of frames that `trex` describes. */
function writeDefaultRun(out: FieldWriter, count: number, offset: number): void {
  checkOffset(offset);
  out.words(TRUN_BYTES, TRUN, DEFAULT_TRUN_HEAD, count, offset);
}

function checkOffset(offset: number): void {
  if (offset > 0x7fff_ffff) throw new RangeError(`a fragment with samples at its byte ${offset} is beyond 2 GiB`);
}

/** `trun` (8.8.8) of samples [from, to), which lie one behind the other. */
function writeRun(
  out: FieldWriter,
  { kind, delta, size, compositionOffset, sync }: TrackFragmentSpec,
  { from, to, offset }: { readonly from: number; readonly to: number; readonly offset: number },
): void {
  checkOffset(offset);
  out.words(TRUN_BYTES + (to - from) * SAMPLE_BYTES[kind], TRUN, TRUN_HEAD[kind], to - from, offset);
  for (let i = from; i < to; i++) {
    out.word(delta(i));
    out.word(size[i] ?? 0);
    if (kind === 'audio') continue;
    out.word(sync[i] === 1 ? SYNC_FLAGS : NON_SYNC_FLAGS);
    out.word((compositionOffset[i] ?? 0) >>> 0);
  }
}

/** Fields one behind the other, in bytes whose number is known before. */
class FieldWriter {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(length: number) {
    this.#bytes = new Uint8Array(length);
    this.#view = viewOf(this.#bytes);
  }

  /** Unsigned 32-bit numbers. */
  words(...values: readonly number[]): void {
    for (const value of values) this.word(value);
  }

  word(value: number): void {
    if (value >>> 0 !== value) throw new RangeError(`${value} does not fit 32 bits`);
    this.#view.setUint32(this.#at, value);
    this.#at += 4;
  }

  /** An unsigned 64-bit number. */
  long(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`${value} is no decode time`);
    setUint64(this.#view, this.#at, value);
    this.#at += 8;
  }

  bytes(bytes: Uint8Array): void {
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.byteLength;
  }

  finish(): Uint8Array {
    if (this.#at !== this.#bytes.byteLength) throw new RangeError(`${this.#at} of ${this.#bytes.byteLength} bytes`);
    return this.#bytes;
  }
}

/** Where the fragments of a file are: one entry per column index, in order. */
export interface SegmentIndexSpec {
  /** The track whose times these are. */
  readonly trackId: number;
  /** Ticks per second of the times below: those of the track, since FFmpeg takes no others. */
  readonly timescale: number;
  /** Presentation time of the first picture or sound, ticks. */
  readonly earliestTicks: number;
  /** Bytes between the end of this box and the first entry. */
  readonly firstOffset: number;
  /** Bytes of each entry, headers included; below 2 GiB. */
  readonly size: Uint32Array;
  readonly durationTicks: Uint32Array;
  /** 1 = begins with a sync sample. */
  readonly sync: Uint8Array;
}

const MAX_INDEX_ENTRIES = 0xffff;

/** Bytes of a `sidx` with this many entries. */
export function segmentIndexLength(entries: number): number {
  return 40 + 12 * entries;
}

/** `sidx` (8.16.3), version 1: lets a player seek in a fragmented file. At most 65535 entries. */
export function writeSegmentIndex(spec: SegmentIndexSpec): Uint8Array {
  const { size, durationTicks, sync } = spec;
  if (size.length > MAX_INDEX_ENTRIES) throw new RangeError(`'sidx' holds at most ${MAX_INDEX_ENTRIES} entries`);
  const out = new FieldWriter(12 * size.length);
  for (let i = 0; i < size.length; i++) {
    const bytes = size[i] ?? 0;
    if (bytes > 0x7fff_ffff) throw new RangeError(`an entry of ${bytes} bytes is beyond 2 GiB`);
    // The highest bit of the size is 0: media. The last word: begins with a point of random access, of type 1.
    out.words(bytes, durationTicks[i] ?? 0, sync[i] === 1 ? 0x9000_0000 : 0);
  }
  const times = [u64(spec.earliestTicks), u64(spec.firstOffset)];
  const count = [u16(0), u16(size.length)];
  return fullBox('sidx', 1, 0, u32(spec.trackId), u32(spec.timescale), ...times, ...count, out.finish());
}
