/**
 * Cuts a stretch of payload into fragments: one begins at each sync sample of the video; where there is only sound, after
 * so many runs. The media of a fragment reaches from its first sample to that of the next one, so what lies between
 * samples in a file goes along, and all fragments of a stretch have its bytes. Silence is added to the fragment whose
 * sound it precedes.
 */
import { type FragmentSpec, headerLength, type TrackFragmentSpec, writeFragment } from '../mp4/fragment-writer.ts';
import { chunkStarts } from '../mp4/table-writer.ts';
import type { Lane, LaneSilence } from './fragment-lanes.ts';
import { lastAtOrBelow } from './search.ts';
import type { ByteRange, StoredSlice, VirtualFile } from './virtual-file.ts';

/** Sound alone is cut after so many groups of a file, or so many samples where these are packed: about 3 s of AAC. */
export const SOUND_CHUNKS = 16;
export const SOUND_SAMPLES = 128;

/** What is cut into fragments: bytes [start, end) of the payload. */
export interface Unit extends ByteRange {
  /** Number of the first fragment. */
  readonly sequence: number;
  /** Samples alone, nothing in between. */
  readonly packed: boolean;
  /** Each sample is a run of its own. */
  readonly everySample: boolean;
}

export interface Fragment {
  readonly spec: FragmentSpec;
  /** Ranges of the payload, in order: the fragment's own, then silence. */
  readonly media: readonly ByteRange[];
}

/** Every lane has a sample. */
export function cutFragments(lanes: readonly Lane[], unit: Unit): Fragment[] {
  const cuts = [...cutsOf(lanes, unit.packed), unit.end];
  let from = lanes.map(() => 0);
  let { start } = unit;
  return cuts.map((end, i) => {
    const last = i + 1 === cuts.length;
    const to = lanes.map((lane, t) => (last ? lane.count : sampleAt(lane, from[t] ?? 0, end)));
    const tracks = lanes.map((lane, t) => ({ lane, from: from[t] ?? 0, to: to[t] ?? 0 }));
    const fragment = fragmentOf(tracks, { start, end }, unit.sequence + i, unit.everySample);
    from = to;
    start = end;
    return fragment;
  });
}

/** Where fragments but the first one begin. */
function cutsOf(lanes: readonly Lane[], packed: boolean): number[] {
  const lead = lanes.find(({ kind }) => kind === 'video') ?? lanes[0];
  if (lead === undefined) return [];
  const cuts: number[] = [];
  for (const sample of firstSamples(lead, packed)) if (sample > 0) cuts.push(lead.position[sample] ?? 0);
  return cuts;
}

/** Samples of the leading lane with which fragments begin. */
function* firstSamples({ kind, sync, position, size, count }: Lane, packed: boolean): Generator<number> {
  if (kind === 'video') {
    for (let i = 0; i < count; i++) if (sync[i] === 1) yield i;
  } else if (packed) {
    for (let i = 0; i < count; i += SOUND_SAMPLES) yield i;
  } else {
    const starts = chunkStarts((i) => position[i] ?? 0, size, 0, count);
    for (let i = 0; i < starts.length; i += SOUND_CHUNKS) yield starts[i] ?? 0;
  }
}

/** The first sample from `from` on that lies at a place or behind it. */
function sampleAt({ position, count }: Lane, from: number, place: number): number {
  let sample = from;
  while (sample < count && (position[sample] ?? 0) < place) sample++;
  return sample;
}

interface LaneRange {
  readonly lane: Lane;
  readonly from: number;
  readonly to: number;
}

function fragmentOf(ranges: readonly LaneRange[], own: ByteRange, sequence: number, everySample: boolean): Fragment {
  const media = [own];
  let mediaEnd = own.end;
  const tracks = ranges.map(({ lane, from, to }): TrackFragmentSpec => {
    const defaultRuns = lane.silences
      .filter(({ before }) => before >= from && before < to)
      .map(({ before, count, position, bytes }) => {
        media.push({ start: position, end: position + bytes });
        mediaEnd += bytes;
        return { before, count, position: mediaEnd - bytes };
      });
    const { trackId, kind, size, compositionOffset, sync } = lane;
    return {
      ...{ trackId, kind, from, to, size, compositionOffset, sync, defaultRuns, everySample, always: true },
      baseDecodeTime: timeAt(lane, from),
      delta: (i) => lane.delta[i] ?? 0,
      position: (i) => lane.position[i] ?? 0,
    };
  });
  return { spec: { sequence, mediaPosition: own.start, mediaBytes: mediaEnd - own.start, tracks }, media };
}

/** Decode time of a sample, or of the silence before it; behind the last one, of the end. */
function timeAt({ time, delta, count, silences }: Lane, sample: number): number {
  if (sample === count) return (time[count - 1] ?? 0) + (delta[count - 1] ?? 0);
  const before = silences.filter((silence: LaneSilence) => silence.before === sample);
  return (time[sample] ?? 0) - before.reduce((sum, { ticks }) => sum + ticks, 0);
}

/** Fragments one behind the other: their headers are written when they are reached. */
export class FragmentRow {
  /** Bytes. */
  readonly length: number;
  readonly #fragments: readonly Fragment[];
  readonly #payload: VirtualFile;
  /** Position of each. */
  readonly #starts: Float64Array;

  constructor(fragments: readonly Fragment[], payload: VirtualFile) {
    this.#fragments = fragments;
    this.#payload = payload;
    this.#starts = new Float64Array(fragments.length);
    let at = 0;
    fragments.forEach(({ spec }, i) => {
      this.#starts[i] = at;
      at += headerLength(spec) + spec.mediaBytes;
    });
    this.length = at;
  }

  async *read(from: number, to: number): AsyncGenerator<StoredSlice, void, undefined> {
    for (let i = this.#indexAt(from); i < this.#fragments.length; i++) {
      const fragment = this.#fragments[i];
      const start = this.#starts[i] ?? 0;
      if (fragment === undefined || start >= to) return;
      yield* this.#slices(fragment, from - start, to - start);
    }
  }

  /** Bytes [from, to) of a fragment; both may lie outside of it. */
  async *#slices({ spec, media }: Fragment, from: number, to: number): AsyncGenerator<StoredSlice, void, undefined> {
    const header = writeFragment(spec);
    if (from < header.byteLength) yield { kind: 'bytes', data: header.subarray(Math.max(0, from), to) };
    let at = header.byteLength;
    for (const { start, end } of media) {
      const range = { start: start + Math.max(0, from - at), end: Math.min(end, start + to - at) };
      if (range.end > range.start) yield* this.#payload.slices(range);
      at += end - start;
    }
  }

  /** Index of the fragment that holds a position. */
  #indexAt(position: number): number {
    return lastAtOrBelow(this.#starts.length, (i) => this.#starts[i] ?? 0, position);
  }
}

/** Units that were used lately, of all answers: a player asks for many byte ranges, and a row of an hour has megabytes. */
export class FragmentRows {
  readonly #kept = new Map<Unit, Promise<FragmentRow>>();

  of(unit: Unit, make: () => Promise<FragmentRow>): Promise<FragmentRow> {
    const row = this.#kept.get(unit) ?? make();
    this.#kept.delete(unit);
    this.#kept.set(unit, row);
    row.catch(() => this.#kept.delete(unit));
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= MAX_ROWS) break;
      this.#kept.delete(oldest);
    }
    return row;
  }
}

const MAX_ROWS = 4;
