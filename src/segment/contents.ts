/**
 * What a segment holds, as tables: built from records (of a scan, or of the pseudo-header) or from a sealed `moov`.
 * All three ways give equal tables on the same frames.
 *
 * A video sample lasts until its successor's DTS; the last one, whose successor is not there yet, is not counted until
 * an end is known. Audio samples carry their own length.
 */
import { type Crc32c, viewOf } from '../format/bytes.ts';
import { TrackClock } from '../format/clock.ts';
import { DELIMITER_BYTES, keptPayloadBytes, readDelimiter, RecordFlag, RecordType } from '../format/delimiter.ts';
import {
  type Anchor,
  decodeAnchor,
  decodeConfiguration,
  decodeEnd,
  type Head,
  MAX_TICKS,
  nonsense,
  seedOf,
  type TrackEnd,
} from '../format/records.ts';
import type { Track } from '../media.ts';
import { type SampleTable, SampleTableBuilder } from '../mp4/tables.ts';
import { FootageError } from '../errors.ts';
import { lowerBound } from './track-tables.ts';

export interface SegmentTrack {
  readonly track: Track;
  /** Offsets are positions in the segment's file; durations are the samples' own. */
  readonly samples: SampleTable;
  /** Where the last sample ends; undefined without samples. */
  readonly endDts: number | undefined;
  /** The last sample's length is not known but taken from its forerunner. */
  readonly estimated: boolean;
}

export interface SegmentContents {
  readonly head: Head;
  readonly anchors: readonly Anchor[];
  readonly tracks: readonly SegmentTrack[];
  /** Nothing comes behind: the segment is sealed, or holds its end record. */
  readonly ended: boolean;
}

/** A clock per track of a segment. */
export function clocksOf(contents: Pick<SegmentContents, 'head' | 'anchors'>): TrackClock[] {
  return contents.head.tracks.map((_, track) => new TrackClock(contents.head, contents.anchors, track));
}

const MAX_DURATION_TICKS = 2 ** 32 - 1;

/** State of one track while records come in. */
class TrackBuilder {
  readonly samples = new SampleTableBuilder();
  readonly #kind: 'video' | 'audio';
  readonly #guide: SegmentTrack | undefined;
  /** Frames behind a hole: video is skipped until the next sync sample. */
  #afterHole = false;
  /** Video frames behind a hole that no table refers to. */
  unreferenced = 0;

  constructor(kind: 'video' | 'audio', guide: SegmentTrack | undefined) {
    this.#kind = kind;
    this.#guide = guide;
  }

  hole(): void {
    if (this.samples.count > 0 || this.#guide !== undefined) this.#afterHole = true;
  }

  /** `duration` is undefined for a frame that lasts until its successor. */
  add(dts: number, duration: number | undefined, offset: number, size: number, cts: number, sync: boolean): void {
    const { samples } = this;
    checkStep(samples, dts);
    const own = this.#afterHole ? this.#ticksBefore(offset) : undefined;
    if (this.#afterHole && this.#kind === 'video' && !sync && own === undefined) {
      this.unreferenced++;
      return;
    }
    const last = samples.count - 1;
    if (last >= 0 && this.#kind === 'video') {
      const step = dts - (samples.dts[last] ?? 0);
      samples.duration[last] = this.#afterHole ? (own ?? samples.duration[last - 1] ?? step) : step;
    }
    this.#afterHole = false;
    samples.push(dts, duration ?? 0, cts, size, offset, sync);
  }

  /** What the last sample lasts if the guide says that the one at `offset` follows it: nothing of this track is lost. */
  #ticksBefore(offset: number): number | undefined {
    if (this.#guide === undefined) return undefined;
    const { count, offset: offsets, duration } = this.#guide.samples;
    const next = lowerBound(count, (i) => offsets[i] ?? 0, offset);
    const before = next === 0 ? undefined : offsets[next - 1];
    if (next === count || offsets[next] !== offset || before !== this.samples.offset[this.samples.count - 1])
      return undefined;
    return duration[next - 1] ?? 0;
  }

  /** What the last sample lasts if it is the guide's last one as well. */
  #ticksOfLast(): number | undefined {
    if (this.#guide === undefined) return undefined;
    const { count, offset, duration } = this.#guide.samples;
    return offset[count - 1] === this.samples.offset[this.samples.count - 1] ? duration[count - 1] : undefined;
  }

  /** Samples whose length is known, and the end: from the end record, or from the forerunner when estimating. */
  finish(track: Track, end: TrackEnd | undefined, estimate: boolean): SegmentTrack {
    const { samples } = this;
    const last = samples.count - 1;
    if (last < 0) return { track, samples, endDts: undefined, estimated: false };
    const lastDts = samples.dts[last] ?? 0;
    if (this.#kind === 'audio') {
      const endDts = lastDts + (samples.duration[last] ?? 0);
      return { track, samples: view(samples, samples.count), endDts, estimated: end?.estimated ?? false };
    }
    // Behind a hole the end record says when the lost samples ended.
    const own = this.#afterHole || end === undefined ? this.#ticksOfLast() : undefined;
    if (own !== undefined) {
      samples.duration[last] = own;
      const estimated = this.#guide?.estimated ?? false;
      return { track, samples: view(samples, samples.count), endDts: lastDts + own, estimated };
    }
    if (!this.#afterHole && end?.endDts !== undefined && isDuration(end.endDts - lastDts)) {
      samples.duration[last] = end.endDts - lastDts;
      return { track, samples: view(samples, samples.count), endDts: end.endDts, estimated: end.estimated };
    }
    if (!estimate && end === undefined)
      return { track, samples: view(samples, last), endDts: last > 0 ? lastDts : undefined, estimated: false };
    const duration = samples.duration[last - 1] ?? Math.round(track.timescale / 25);
    samples.duration[last] = duration;
    return { track, samples: view(samples, samples.count), endDts: lastDts + duration, estimated: true };
  }
}

const isDuration = (ticks: number) => ticks > 0 && ticks <= MAX_DURATION_TICKS;

/** DTS of a track strictly increase, by what a table of durations can hold. */
function checkStep({ count, dts: times }: SampleTable, dts: number): void {
  const before = times[count - 1] ?? dts - 1;
  if (Math.abs(dts) <= MAX_TICKS && isDuration(dts - before)) return;
  throw nonsense('The order in time of frames');
}

/** The first `count` samples, frozen: the builder may grow behind them. */
function view(samples: SampleTableBuilder, count: number): SampleTable {
  const { dts, duration, compositionOffset, size, offset, sync } = samples;
  return { count, dts, duration, compositionOffset, size, offset, sync };
}

/** Collects records in file order into tables. */
export class ContentsBuilder {
  readonly head: Head;
  readonly seed: number;
  readonly #anchors: Anchor[] = [];
  readonly #tracks: (Track | undefined)[];
  readonly #builders: TrackBuilder[];
  #ends: TrackEnd[] | undefined;

  /**
   * `guides`: the tracks as tables that hold give them. They tell which frames follow each other across bytes that belong
   * to no record, where without them all pictures up to the next sync sample are left out.
   */
  constructor(head: Head, crc32c: Crc32c, guides: readonly SegmentTrack[] = []) {
    this.head = head;
    this.seed = seedOf(head.segment, crc32c);
    this.#tracks = head.tracks.map(() => undefined);
    this.#builders = head.tracks.map((track, i) => new TrackBuilder(track.kind, guides[i]));
  }

  /** Tracks whose configuration record was not met. */
  get unconfigured(): number[] {
    return this.#tracks.flatMap((track, i) => (track === undefined ? [i] : []));
  }

  /** Says what a configuration record that is lost said. */
  configure(index: number, track: Track): void {
    this.#tracks[index] = track;
  }

  /** Whether an end record was met: nothing comes behind it. */
  get ended(): boolean {
    return this.#ends !== undefined;
  }

  /** Video frames behind holes that no table refers to. */
  get unreferenced(): number {
    return this.#builders.reduce((sum, builder) => sum + builder.unreferenced, 0);
  }

  /** Frames met so far, those in no table included. */
  get frames(): number {
    return this.#builders.reduce((sum, { samples, unreferenced }) => sum + samples.count + unreferenced, 0);
  }

  /** Bytes in the middle of the file belong to no record: what follows is not continuous with what came. */
  hole(): void {
    for (const builder of this.#builders) builder.hole();
  }

  /** Adds the record at `at` of `records`, whose delimiter lies at `offset` in the file; returns where the next is. */
  add(records: DataView, bytes: Uint8Array, at: number, offset: number): number {
    const delimiter = readDelimiter(records, at);
    const kept = keptPayloadBytes(records, at);
    const payloadAt = at + DELIMITER_BYTES;
    const payload = () => bytes.subarray(payloadAt, payloadAt + kept);
    const builder = this.#builders[delimiter.track];
    switch (delimiter.type) {
      case RecordType.frame:
        builder?.add(
          delimiter.dts,
          undefined,
          offset + DELIMITER_BYTES,
          delimiter.length,
          delimiter.compositionOffset,
          (delimiter.flags & RecordFlag.sync) !== 0,
        );
        break;
      case RecordType.group:
        if (builder !== undefined) addGroup(builder, records, payloadAt, delimiter.dts, offset + DELIMITER_BYTES);
        break;
      case RecordType.configuration: {
        const timescale = this.head.tracks[delimiter.track]?.timescale;
        if (timescale !== undefined) this.#tracks[delimiter.track] = decodeConfiguration(payload(), timescale);
        break;
      }
      case RecordType.anchor:
        this.#anchors.push(decodeAnchor(delimiter.track, delimiter.dts, delimiter.flags, payload()));
        break;
      case RecordType.end:
        this.#ends = decodeEnd(payload());
        break;
      default:
    }
    return payloadAt + kept;
  }

  /** Adds all of `records`; `offsets` gives the file offset of each. */
  addAll(records: Uint8Array, offsets: Float64Array): void {
    const view = viewOf(records);
    let at = 0;
    for (const offset of offsets) at = this.add(view, records, at, offset);
  }

  /**
   * The tables so far. With `estimate` the last video sample is included although its successor is missing.
   * @throws FootageError E_DAMAGED when a track's configuration record is missing.
   */
  contents(estimate: boolean): SegmentContents {
    const tracks = this.#builders.map((builder, i) => {
      const track = this.#tracks[i];
      if (track === undefined) {
        throw new FootageError('E_DAMAGED', `Segment ${this.head.segment} has no configuration of track ${i}.`);
      }
      return builder.finish(track, this.#ends?.[i], estimate);
    });
    return { head: this.head, anchors: [...this.#anchors], tracks, ended: this.ended };
  }
}

function addGroup(builder: TrackBuilder, records: DataView, table: number, dts: number, payloadOffset: number): void {
  const count = records.getUint32(table);
  let offset = payloadOffset + 4 + 8 * count;
  let at = dts;
  for (let i = 0; i < count; i++) {
    const size = records.getUint32(table + 4 + 8 * i);
    const duration = records.getUint32(table + 8 + 8 * i);
    builder.add(at, duration, offset, size, 0, true);
    offset += size;
    at += duration;
  }
}
