/**
 * Frames in, segments out: when a segment begins, when it is cut, flushed and sealed. One recorder per camera; it knows
 * neither where frames come from nor who reads them. Runs on the loop thread; writes and syncs run on the thread pool.
 *
 * Invariants: records of a camera are written in order; a segment begins at a sync sample of the leading track (except
 * after a cut at the hard size limit); the UTC of an appended sample never changes.
 */
import { randomBytes } from 'node:crypto';
import { FootageError } from '../errors.ts';
import { TrackClock } from '../format/clock.ts';
import { RecordFlag, RecordType, writeDelimiter, DELIMITER_BYTES } from '../format/delimiter.ts';
import { type Anchor, encodeAnchor, encodeGroupTable, type Head, type TrackEnd } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Frame, Track } from '../media.ts';
import type { SegmentIo } from '../segment/disk.ts';
import type { GroupFlusher } from '../segment/flusher.ts';
import { removeSegment, SegmentWriter } from '../segment/writer.ts';
import { MAX_STALL_S, type PlacedFrame, TrackState } from './track-state.ts';

export interface RecorderOptions {
  /** A segment is cut at the next sync sample after this much media. Default 1 h. */
  readonly segmentDurationMs?: number;
  /** … or after this many bytes. Default 1 GiB; at twice that the cut needs no sync sample. */
  readonly segmentBytes?: number;
  /** Upper bound of what a power cut may take, ms, from 100. Default 1000. */
  readonly flushIntervalMs?: number;
  /** How often the pseudo-header gets a sub-block, ms. Default 10 000. */
  readonly indexIntervalMs?: number;
  /** Wall time of media time 0, where frames do not say better. Otherwise that of a run's first frame, or its arrival. */
  readonly startUtcMs?: number;
}

/** What becomes of segments; the catalog stands behind it. */
export interface SegmentSink {
  opened(segment: { readonly path: string; readonly head: Head; readonly startUtcMs: number }): void;
  sealed(segment: { readonly path: string; readonly trailer: Trailer }): void;
  removed(id: string): void;
}

export interface RecorderDeps extends SegmentIo {
  /** Folder of the camera. */
  readonly directory: string;
  /** UUID of the camera, 32 hex digits. */
  readonly camera: string;
  readonly flusher: GroupFlusher;
  readonly sink: SegmentSink;
  /** Wall clock, Unix ms. */
  readonly now: () => number;
}

export interface RecordingStats {
  /** Per track: frames in the file, visible to every reader and safe from a crash of this process. */
  readonly appended: number[];
  /** Per track: frames made durable. */
  readonly flushed: number[];
  /** Per track: frames that came before the first sync sample. */
  readonly dropped: number[];
  /** Segments begun so far. */
  readonly segments: number;
  /** Media recorded from the first sync sample of the leading track on, ms. */
  readonly recordedMs: number;
}

const DEFAULTS = {
  segmentDurationMs: 3_600_000,
  segmentBytes: 2 ** 30,
  flushIntervalMs: 1000,
  indexIntervalMs: 10_000,
};
/** Bytes that may wait for the disk before the source has to. */
const MAX_PENDING_BYTES = 8 * 2 ** 20;
/** Frames of other tracks kept from before the first sync sample of the leading one. */
const MAX_EARLY_FRAMES = 1000;
/** A frame's own wall time moves the anchor when it is off by more than this. */
const ANCHOR_TOLERANCE_MS = 50;

/** The run that is being recorded. */
interface Run {
  readonly id: string;
  sequence: number;
  /** The anchor in force. */
  anchor: Anchor;
}

/** The segment that is being written. */
interface OpenSegment {
  readonly writer: SegmentWriter;
  readonly firstDts: number;
  /** Where what was written of each track ends, ticks. */
  readonly ends: (TrackEnd | undefined)[];
}

export class Recorder {
  readonly #deps: RecorderDeps;
  readonly #options: Required<Omit<RecorderOptions, 'startUtcMs'>> & Pick<RecorderOptions, 'startUtcMs'>;
  readonly #states: readonly TrackState[];
  readonly #leading: number;
  #run: Run | undefined;
  #segment: OpenSegment | undefined;
  #early: { track: number; frame: PlacedFrame }[] = [];
  /** Every segment of this recording, for statistics and for taking it back. */
  readonly #made: { readonly id: string; readonly path: string }[] = [];
  /** Sealings under way, and flushes: a failure of any of them ends the recording. */
  readonly #background = new Set<Promise<void>>();
  /** Sealings alone: their frames are durable only when they are done. */
  readonly #sealings = new Set<Promise<void>>();
  #failure: unknown;
  #recordedTicks = 0;
  /** Where the run's latest frame of any track ends, seconds. */
  #latestS: number | undefined;

  /** `tracks` and `options` have been checked (options.ts). */
  constructor(tracks: readonly Track[], deps: RecorderDeps, options: RecorderOptions) {
    this.#deps = deps;
    this.#options = { ...DEFAULTS, ...options };
    this.#states = tracks.map((track, index) => new TrackState(track, index));
    this.#leading = Math.max(
      0,
      tracks.findIndex((track) => track.kind === 'video'),
    );
  }

  stats(): RecordingStats {
    return {
      appended: this.#states.map((state) => state.appended),
      flushed: this.#states.map((state) => state.flushed),
      dropped: this.#states.map((state) => state.dropped),
      segments: this.#made.length,
      recordedMs: (this.#recordedTicks * 1000) / this.#leadingState.track.timescale,
    };
  }

  /** Records until `frames` ends, `stop` aborts, or something fails; then everything is sealed. */
  async record(frames: AsyncIterable<Frame>, stop: AbortSignal): Promise<void> {
    const stopTicking = this.#deps.flusher.every(this.#options.flushIntervalMs, () => this.#flush());
    try {
      for await (const frame of untilAborted(frames, stop)) {
        await this.#accept(frame);
        if (this.#failure !== undefined) throw this.#failure;
      }
    } finally {
      stopTicking();
      await this.#finish();
    }
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Removes every segment of this recording again. */
  async discard(): Promise<void> {
    for (const { id, path } of this.#made) {
      await removeSegment(this.#deps.disk, path);
      this.#deps.sink.removed(id);
    }
  }

  get #leadingState(): TrackState {
    const state = this.#states[this.#leading];
    if (state === undefined) throw new RangeError('a recording has tracks');
    return state;
  }

  async #accept(frame: Frame): Promise<void> {
    const state = this.#states[frame.track];
    if (state === undefined) {
      throw new FootageError('E_FRAME', `A frame names track ${frame.track}, which the recording does not have.`);
    }
    state.check(frame);
    const leading = frame.track === this.#leading;
    const seconds = frame.dts / state.track.timescale;
    const stalled = this.#latestS !== undefined && seconds > this.#latestS + MAX_STALL_S;
    if (stalled || state.jumpsBack(frame.dts)) await this.#endRun();
    const placed = state.place(frame);
    this.#latestS = Math.max(this.#latestS ?? seconds, state.endS());
    if (leading) await this.#prepareSegment(placed);
    if (this.#segment === undefined) this.#keepEarly(state, placed);
    else this.#write(this.#segment, state, placed);
    const writer = this.#segment?.writer;
    if (writer !== undefined && writer.pendingBytes > MAX_PENDING_BYTES) await writer.written();
  }

  /** Before a frame of the leading track: opens the first segment of a run, or cuts. */
  async #prepareSegment(frame: PlacedFrame): Promise<void> {
    const segment = this.#segment;
    if (segment === undefined) {
      if (frame.sync) await this.#beginRun(frame);
      return;
    }
    const { bytes } = segment.writer;
    const ms = ((frame.dts - segment.firstDts) * 1000) / this.#leadingState.track.timescale;
    const due = ms >= this.#options.segmentDurationMs || bytes >= this.#options.segmentBytes;
    if (!(due && frame.sync) && bytes < 2 * this.#options.segmentBytes) return;
    this.#closeSegment(segment, frame.dts);
    await this.#openSegment(frame);
  }

  #keepEarly(state: TrackState, frame: PlacedFrame): void {
    const leading = state.index === this.#leading;
    if (!leading) this.#early.push({ track: state.index, frame });
    if (leading || this.#early.length > MAX_EARLY_FRAMES) state.dropped++;
    if (this.#early.length > MAX_EARLY_FRAMES) this.#early.shift();
  }

  async #beginRun(frame: PlacedFrame): Promise<void> {
    const { startUtcMs } = this.#options;
    // A later run of a source without wall times (a file with a pause) goes on with the same clock.
    const given = startUtcMs !== undefined && (this.#made.length === 0 || frame.utcMs === undefined);
    const pts = frame.dts + frame.compositionOffset;
    if (pts < -MAX_STALL_S * this.#leadingState.track.timescale) {
      // What lies before time 0 is hidden: that is meant for priming, not for footage.
      throw new FootageError(
        'E_FRAME',
        `The first picture lies more than ${MAX_STALL_S} s before time 0 and would be hidden: let DTS count from the first presented instant.`,
      );
    }
    this.#run = {
      id: randomBytes(16).toString('hex'),
      sequence: 0,
      anchor: {
        track: this.#leading,
        dts: given ? 0 : pts,
        utcMs: given ? startUtcMs : (frame.utcMs ?? this.#deps.now()),
        discontinuity: false,
      },
    };
    await this.#openSegment(frame);
    const early = this.#early;
    this.#early = [];
    for (const { track, frame: earlier } of early) {
      const state = this.#states[track];
      if (state !== undefined && this.#segment !== undefined) this.#write(this.#segment, state, earlier);
    }
  }

  async #openSegment(frame: PlacedFrame): Promise<void> {
    const run = this.#run;
    if (run === undefined) throw new RangeError('a segment belongs to a run');
    const head: Head = {
      segment: randomBytes(16).toString('hex'),
      camera: this.#deps.camera,
      run: run.id,
      sequence: run.sequence++,
      anchor: run.anchor,
      tracks: this.#states.map(({ track }) => ({ kind: track.kind, timescale: track.timescale })),
    };
    const startUtcMs = new TrackClock(head, [], this.#leading).utcMs(frame.dts + frame.compositionOffset, frame.dts);
    const writer = await SegmentWriter.create({
      directory: this.#deps.directory,
      startUtcMs,
      head,
      tracks: this.#states.map(({ track }) => track),
      anchors: [],
      indexIntervalMs: this.#options.indexIntervalMs,
      disk: this.#deps.disk,
      native: this.#deps.native,
      flusher: this.#deps.flusher,
    });
    this.#made.push({ id: writer.id, path: writer.path });
    this.#segment = { writer, firstDts: frame.dts, ends: this.#states.map(() => undefined) };
    this.#deps.sink.opened({ path: writer.path, head, startUtcMs });
  }

  #write(segment: OpenSegment, state: TrackState, frame: PlacedFrame): void {
    if (state.track.kind === 'audio') {
      for (const group of state.addAudio(frame)) this.#writeGroup(segment, state, group);
    } else {
      this.#writeFrame(segment, state, frame);
    }
  }

  #writeFrame(segment: OpenSegment, state: TrackState, frame: PlacedFrame): void {
    if (state.index === this.#leading) this.#moveAnchor(segment, frame);
    const delimiter = this.#delimiter(segment, state, frame, RecordType.frame, [frame.data]);
    segment.writer.append([delimiter, frame.data], () => state.appended++);
    const length = state.lastLength();
    segment.ends[state.index] = { endDts: frame.dts + length.ticks, estimated: length.estimated };
    if (state.index === this.#leading) this.#recordedTicks += length.ticks;
  }

  #writeGroup(segment: OpenSegment, state: TrackState, group: readonly PlacedFrame[]): void {
    const [first] = group;
    const last = group.at(-1);
    if (first === undefined || last === undefined) return;
    if (state.index === this.#leading) this.#moveAnchor(segment, first);
    const frames = group.map((frame) => frame.data);
    const entries = group.map(({ data, durationTicks }) => ({
      size: data.byteLength,
      durationTicks: durationTicks ?? 0,
    }));
    const table = encodeGroupTable(entries);
    const delimiter = this.#delimiter(segment, state, first, RecordType.group, [table, ...frames]);
    const lead = new Uint8Array(delimiter.byteLength + table.byteLength);
    lead.set(delimiter);
    lead.set(table, delimiter.byteLength);
    segment.writer.append([lead, ...frames], () => (state.appended += group.length));
    segment.ends[state.index] = { endDts: last.dts + (last.durationTicks ?? 0), estimated: false };
    if (state.index === this.#leading) for (const entry of entries) this.#recordedTicks += entry.durationTicks;
  }

  #delimiter(
    segment: OpenSegment,
    state: TrackState,
    frame: PlacedFrame,
    type: number,
    payload: readonly Uint8Array[],
  ): Uint8Array {
    const { crc32c } = this.#deps.native;
    const delimiter = new Uint8Array(DELIMITER_BYTES);
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
    writeDelimiter(delimiter, 0, fields, segment.writer.seed, crc32c);
    return delimiter;
  }

  /** A frame that knows its wall time and is off the anchor in force gets a new one, from its DTS on. */
  #moveAnchor(segment: OpenSegment, frame: PlacedFrame): void {
    const run = this.#run;
    if (run === undefined || frame.utcMs === undefined) return;
    const pts = frame.dts + frame.compositionOffset;
    const { timescale } = this.#leadingState.track;
    const expected = run.anchor.utcMs + ((pts - run.anchor.dts) * 1000) / timescale;
    if (Math.abs(expected - frame.utcMs) <= ANCHOR_TOLERANCE_MS) return;
    // The anchor is an instant of the timeline: that of this frame's DTS.
    const utcMs = frame.utcMs - (frame.compositionOffset * 1000) / timescale;
    run.anchor = { track: this.#leading, dts: frame.dts, utcMs, discontinuity: false };
    segment.writer.append([encodeAnchor(run.anchor, segment.writer.seed, this.#deps.native.crc32c)]);
  }

  async #endRun(): Promise<void> {
    if (this.#segment !== undefined) this.#closeSegment(this.#segment, undefined);
    for (const state of this.#states) state.reset();
    this.#latestS = undefined;
    this.#early = [];
    this.#run = undefined;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes what still waits and seals in the background. `nextDts`: where the leading track goes on, if it does. */
  #closeSegment(segment: OpenSegment, nextDts: number | undefined): void {
    for (const state of this.#states) {
      for (const group of state.takeRest(nextDts === undefined)) this.#writeGroup(segment, state, group);
    }
    this.#segment = undefined;
    const ends = segment.ends.map((end, track): TrackEnd => {
      if (end === undefined) return { endDts: undefined, estimated: false };
      const followed = track === this.#leading && nextDts !== undefined && this.#leadingState.track.kind === 'video';
      return followed ? { endDts: nextDts, estimated: false } : end;
    });
    const sealing = this.#seal(segment, ends).finally(() => this.#sealings.delete(sealing));
    this.#sealings.add(sealing);
    this.#inBackground(sealing);
  }

  async #seal({ writer }: OpenSegment, ends: readonly TrackEnd[]): Promise<void> {
    try {
      const trailer = await writer.seal(ends);
      this.#deps.sink.sealed({ path: writer.path, trailer });
      await writer.discardIndex();
    } finally {
      await writer.close();
    }
  }

  #flush(): void {
    const writer = this.#segment?.writer;
    if (writer === undefined) return;
    const counts = this.#counts();
    const durable = Promise.all([writer.flush(), ...this.#sealings]);
    this.#inBackground(durable.then(() => this.#noteFlushed(counts)));
  }

  #counts(): number[] {
    return this.#states.map((state) => state.appended);
  }

  #noteFlushed(counts: readonly number[]): void {
    this.#states.forEach((state, i) => (state.flushed = Math.max(state.flushed, counts[i] ?? 0)));
  }

  #inBackground(work: Promise<void>): void {
    const watched: Promise<void> = work
      .catch((error: unknown) => {
        this.#failure ??= error;
      })
      .finally(() => this.#background.delete(watched));
    this.#background.add(watched);
  }

  /** Seals what is open, or, after a failure, leaves it as it is for recovery. */
  async #finish(): Promise<void> {
    const segment = this.#segment;
    if (segment !== undefined && this.#failure === undefined) this.#closeSegment(segment, undefined);
    while (this.#background.size > 0) await Promise.all(this.#background);
    if (this.#failure === undefined) {
      this.#noteFlushed(this.#counts());
      return;
    }
    await segment?.writer.close();
  }
}

/** The items of `source` until `signal` aborts, even while it keeps us waiting. */
async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  // One listener for months of frames; it ends whatever wait is under way.
  let wake: (() => void) | undefined;
  const onAbort = () => wake?.();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted) {
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // A source that hangs would never answer: it is told, not awaited.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
