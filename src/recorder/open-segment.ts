/**
 * The segment that a recorder writes now: frames and groups become records, and what is in the file and what is durable of
 * it is counted. Loop thread only.
 */
import { type Crc32c, smallBuffer } from '../format/bytes.ts';
import { DELIMITER_BYTES, RecordFlag, RecordType, writeDelimiter } from '../format/delimiter.ts';
import { type Anchor, encodeAnchor, encodeCameraClock, encodeGroupTable, type TrackEnd } from '../format/records.ts';
import type { SegmentWriter } from '../segment/writer.ts';
import type { SegmentAccount } from './ledger.ts';
import type { PlacedFrame, TrackState } from './track-state.ts';

/** The run that is being recorded. */
export interface Run {
  readonly id: string;
  sequence: number;
  /** The anchor in force. */
  anchor: Anchor;
}

/** A frame's own wall time moves the anchor when it is off by more than this: half a picture at 25 a second. */
const ANCHOR_TOLERANCE_MS = 20;
/** What the camera's clock says is told again when it has moved against ours by more than this. */
const CAMERA_CLOCK_TOLERANCE_MS = 500;

/** Wall time of an instant of the anchor's track, Unix ms. */
export function wallTimeOf(anchor: Anchor, ticks: number, timescale: number): number {
  return anchor.utcMs + ((ticks - anchor.dts) * 1000) / timescale;
}

export interface OpenSegmentOptions {
  readonly writer: SegmentWriter;
  readonly run: Run;
  readonly account: SegmentAccount;
  /** Index of the leading track, and its ticks per second. */
  readonly leading: number;
  readonly timescale: number;
  /** DTS of its first frame. */
  readonly firstDts: number;
  readonly crc32c: Crc32c;
}

export class OpenSegment {
  readonly writer: SegmentWriter;
  readonly account: SegmentAccount;
  readonly firstDts: number;
  /** Where what was written of each track ends, ticks. */
  readonly ends: (TrackEnd | undefined)[] = [];
  readonly #options: OpenSegmentOptions;
  /** By how much the camera's clock was ahead of ours when it was told last, per track, ms. */
  readonly #cameraAheadMs: (number | undefined)[] = [];
  /** Where the leading track ends in the file, and in the part of it that is durable; ticks. */
  #appendedTo: number;
  #durableTo: number;
  /** When the flushes under way began, performance.now(). */
  readonly #flushes = new Set<{ readonly beganMs: number }>();

  constructor(options: OpenSegmentOptions) {
    this.#options = options;
    this.writer = options.writer;
    this.account = options.account;
    this.firstDts = options.firstDts;
    this.#appendedTo = options.firstDts;
    this.#durableTo = options.firstDts;
  }

  /** Wall time of the end of the leading track in the file, or in the part of it that is durable; Unix ms. */
  endUtcMs(onlyDurable: boolean): number {
    const { run, timescale } = this.#options;
    return wallTimeOf(run.anchor, onlyDurable ? this.#durableTo : this.#appendedTo, timescale);
  }

  /** Bytes handed over that no sync covers; of a segment that had to be left, those that are in the file. */
  get bytesAtRisk(): number {
    if (this.account.settled) return 0;
    const { bytes, pendingBytes, durableTo } = this.writer;
    return Math.max(0, bytes - (this.account.abandoned ? pendingBytes : 0) - durableTo);
  }

  /** Wall time of the end of what was handed over of the leading track, Unix ms. */
  get givenToUtcMs(): number {
    const { run, timescale, leading } = this.#options;
    return wallTimeOf(run.anchor, this.ends[leading]?.endDts ?? this.firstDts, timescale);
  }

  /** Flushes under way. */
  get flushes(): number {
    return this.#flushes.size;
  }

  /** When the oldest flush under way began. */
  get oldestFlushMs(): number | undefined {
    const [oldest] = this.#flushes;
    return oldest?.beganMs;
  }

  /** Takes a frame; returns the ticks of the leading track that were handed over with it. */
  write(state: TrackState, frame: PlacedFrame): number {
    if (state.track.kind !== 'audio') return this.#writeFrame(state, frame);
    return this.#writeGroups(state, state.addAudio(frame));
  }

  /** The audio frames that still wait; with `last` also the one whose length is not known. Returns ticks as `write`. */
  writeRest(state: TrackState, last: boolean): number {
    return this.#writeGroups(state, state.takeRest(last));
  }

  #writeFrame(state: TrackState, frame: PlacedFrame): number {
    const leading = state.index === this.#options.leading;
    if (leading) this.#moveAnchor(frame);
    this.#tellCameraClock(state, frame);
    const delimiter = this.#delimiter(state, frame, RecordType.frame, [frame.data]);
    const { ticks, estimated } = state.lastLength();
    this.#append(state, 1, { endDts: frame.dts + ticks, estimated }, [delimiter, frame.data]);
    return leading ? ticks : 0;
  }

  #writeGroups(state: TrackState, groups: readonly (readonly PlacedFrame[])[]): number {
    return groups.reduce((ticks, group) => ticks + this.#writeGroup(state, group), 0);
  }

  #writeGroup(state: TrackState, group: readonly PlacedFrame[]): number {
    const [first] = group;
    const last = group.at(-1);
    if (first === undefined || last === undefined) return 0;
    const leading = state.index === this.#options.leading;
    if (leading) this.#moveAnchor(first);
    for (const frame of group) this.#tellCameraClock(state, frame);
    const frames = group.map((frame) => frame.data);
    const entries = group.map(({ data, durationTicks }) => ({
      size: data.byteLength,
      durationTicks: durationTicks ?? 0,
    }));
    const table = encodeGroupTable(entries);
    const delimiter = this.#delimiter(state, first, RecordType.group, [table, ...frames]);
    const lead = smallBuffer(delimiter.byteLength + table.byteLength);
    lead.set(delimiter);
    lead.set(table, delimiter.byteLength);
    const endDts = last.dts + (last.durationTicks ?? 0);
    this.#append(state, group.length, { endDts, estimated: false }, [lead, ...frames]);
    return leading ? entries.reduce((ticks, { durationTicks }) => ticks + durationTicks, 0) : 0;
  }

  /** Hands over a record of `count` frames. */
  #append({ index }: TrackState, count: number, end: TrackEnd, record: readonly Uint8Array[]): void {
    this.account.push(index, count);
    this.ends[index] = end;
    this.writer.append(record, () => {
      this.account.append(index, count);
      if (index === this.#options.leading) this.#appendedTo = end.endDts ?? this.#appendedTo;
    });
  }

  #delimiter(state: TrackState, frame: PlacedFrame, type: number, payload: readonly Uint8Array[]): Uint8Array {
    const { crc32c } = this.#options;
    const delimiter = smallBuffer(DELIMITER_BYTES);
    const fields = {
      type,
      flags: (frame.sync ? RecordFlag.sync : 0) | (frame.corrected ? RecordFlag.corrected : 0),
      track: state.index,
      configuration: 0,
      length: payload.reduce((sum, part) => sum + part.byteLength, 0),
      compositionOffset: frame.compositionOffset,
      dts: frame.dts,
      payloadCrc: payload.reduce((crc, part) => crc32c(part, crc), 0),
    };
    writeDelimiter(delimiter, 0, fields, this.writer.seed, crc32c);
    return delimiter;
  }

  /** A frame that knows its wall time and is off the anchor in force gets a new one, from its DTS on. */
  #moveAnchor(frame: PlacedFrame): void {
    const { run, leading, timescale, crc32c } = this.#options;
    if (frame.utcMs === undefined) return;
    const expected = wallTimeOf(run.anchor, frame.dts + frame.compositionOffset, timescale);
    if (Math.abs(expected - frame.utcMs) <= ANCHOR_TOLERANCE_MS) return;
    // The anchor is an instant of the timeline: that of this frame's DTS.
    const utcMs = frame.utcMs - (frame.compositionOffset * 1000) / timescale;
    run.anchor = { track: leading, dts: frame.dts, utcMs, discontinuity: false };
    this.writer.append([encodeAnchor(run.anchor, this.writer.seed, crc32c)]);
  }

  /** Before a frame: what the camera's own clock says of its instant, where that is new. */
  #tellCameraClock({ track, index }: TrackState, { cameraUtcMs, dts, compositionOffset }: PlacedFrame): void {
    if (cameraUtcMs === undefined) return;
    const { run, timescale, crc32c } = this.#options;
    const ticks = ((dts + compositionOffset) * timescale) / track.timescale;
    const aheadMs = cameraUtcMs - wallTimeOf(run.anchor, ticks, timescale);
    if (Math.abs(aheadMs - (this.#cameraAheadMs[index] ?? Infinity)) <= CAMERA_CLOCK_TOLERANCE_MS) return;
    this.#cameraAheadMs[index] = aheadMs;
    // As an anchor, it is that of the instant of this frame's DTS.
    const utcMs = cameraUtcMs - (compositionOffset * 1000) / track.timescale;
    this.writer.append([encodeCameraClock({ track: index, dts, utcMs }, this.writer.seed, crc32c)]);
  }

  /** Makes durable what is in the file now. */
  async flush(): Promise<void> {
    const flush = { beganMs: performance.now() };
    this.#flushes.add(flush);
    const counts = [...this.account.appended];
    const appendedTo = this.#appendedTo;
    try {
      await this.writer.flush();
    } finally {
      this.#flushes.delete(flush);
    }
    this.account.confirm(counts);
    this.#durableTo = Math.max(this.#durableTo, appendedTo);
  }
}
