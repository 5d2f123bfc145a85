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
  seedOf,
  type TrackEnd,
} from '../format/records.ts';
import type { Track } from '../media.ts';
import { type SampleTable, SampleTableBuilder } from '../mp4/tables.ts';
import { FootageError } from '../errors.ts';

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

/** State of one track while records come in. */
class TrackBuilder {
  readonly samples = new SampleTableBuilder();
  readonly #kind: 'video' | 'audio';
  /** Frames behind a hole: video is skipped until the next sync sample. */
  #afterHole = false;
  /** Video frames behind a hole that no table refers to. */
  unreferenced = 0;

  constructor(kind: 'video' | 'audio') {
    this.#kind = kind;
  }

  hole(): void {
    if (this.samples.count > 0) this.#afterHole = true;
  }

  /** `duration` is undefined for a frame that lasts until its successor. */
  add(dts: number, duration: number | undefined, offset: number, size: number, cts: number, sync: boolean): void {
    const { samples } = this;
    if (this.#afterHole && this.#kind === 'video' && !sync) {
      this.unreferenced++;
      return;
    }
    const last = samples.count - 1;
    if (last >= 0 && this.#kind === 'video') {
      const step = dts - (samples.dts[last] ?? 0);
      samples.duration[last] = this.#afterHole ? (samples.duration[last - 1] ?? step) : step;
    }
    this.#afterHole = false;
    samples.push(dts, duration ?? 0, cts, size, offset, sync);
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
    if (end?.endDts !== undefined && end.endDts > lastDts) {
      samples.duration[last] = end.endDts - lastDts;
      return { track, samples: view(samples, samples.count), endDts: end.endDts, estimated: end.estimated };
    }
    if (!estimate)
      return { track, samples: view(samples, last), endDts: last > 0 ? lastDts : undefined, estimated: false };
    const duration = samples.duration[last - 1] ?? Math.round(track.timescale / 25);
    samples.duration[last] = duration;
    return { track, samples: view(samples, samples.count), endDts: lastDts + duration, estimated: true };
  }
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

  constructor(head: Head, crc32c: Crc32c) {
    this.head = head;
    this.seed = seedOf(head.segment, crc32c);
    this.#tracks = head.tracks.map(() => undefined);
    this.#builders = head.tracks.map((track) => new TrackBuilder(track.kind));
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
