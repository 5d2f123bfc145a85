/**
 * Frames in, segments out: when a segment begins, when it is cut, flushed and sealed. One recorder per camera; it knows
 * neither where frames come from nor who reads them. Runs on the loop thread; writes and syncs run on the thread pool.
 *
 * A recorder is between runs, or records a run into an open segment, or is interrupted: its disk has failed. Then the
 * segment is left as it is, frames are counted as lost, and a new segment of the run begins at the next sync sample for
 * which there is room; the left one is sealed as soon as that can be.
 *
 * Invariants: records of a camera are written in order; a segment begins at a sync sample of the leading track (except
 * after a cut at the hard size limit); the UTC of an appended sample never changes.
 */
import { randomBytes } from 'node:crypto';
import { dirname } from 'node:path';
import { FootageError } from '../errors.ts';
import { TrackClock } from '../format/clock.ts';
import type { Head, TrackEnd } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import { type Frame, leadingOf, type Track } from '../media.ts';
import type { SegmentIo } from '../segment/disk.ts';
import type { GroupFlusher } from '../segment/flusher.ts';
import { Backoff, type Interruption, isDiskFault, LeftSegments, type RecordingGap } from './interruption.ts';
import { Ledger } from './ledger.ts';
import { OpenSegment, type Run, wallTimeOf } from './open-segment.ts';
import { removeSegment, SegmentWriter } from '../segment/writer.ts';
import { MAX_STALL_S, type PlacedFrame, TrackState } from './track-state.ts';
import { takeUntilAborted } from './until-aborted.ts';

export interface RecorderOptions {
  /** A segment is cut at the next sync sample after this much media. Default 1 h. */
  readonly segmentDurationMs?: number;
  /** … or after this many bytes. Default 1 GiB; at twice that the cut needs no sync sample. */
  readonly segmentBytes?: number;
  /** What a power cut may take, ms, from 100 (docs/durability.md). Default 1000. */
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
  /** The disk has failed: nothing is recorded until it can be. */
  interrupted(cause: FootageError): void;
  /** A segment that is written no more could not be sealed: it is tried again. */
  left(cause: FootageError): void;
  /** It goes on. */
  resumed(gap: RecordingGap): void;
}

export interface RecorderDeps extends SegmentIo {
  /** Folder of the camera. */
  readonly directory: string;
  /** UUID of the camera, 32 hex digits. */
  readonly camera: string;
  readonly flusher: GroupFlusher;
  readonly sink: SegmentSink;
  /** A failure of the disk ends the recording: for sources that can be read again. */
  readonly endOnDiskFault?: boolean;
  /** Called before every further segment: throws when the camera is no longer ours to write. */
  readonly checkLock: () => Promise<void>;
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
  /** Per track: frames that the disk did not take, or that a failed sync may have taken back. */
  readonly lost: number[];
  /**
   * `interrupted`: the disk has failed, and frames are lost until it can be written again. `waiting`: it has not
   * answered for more than 5 s.
   */
  readonly state: 'recording' | 'interrupted' | 'waiting';
  /** Why it is interrupted. */
  readonly cause: FootageError | undefined;
  /** Segments begun so far. */
  readonly segments: number;
  /** Media recorded from the first sync sample of the leading track on, ms. */
  readonly recordedMs: number;
  /** Bytes handed over that a power cut would take now: in memory, or written and not yet confirmed by a sync. */
  readonly bytesAtRisk: number;
  /** How long the flush that ended last, and the longest one, took, ms; 0 before the first. */
  readonly lastFlushMs: number;
  readonly longestFlushMs: number;
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
export const MAX_EARLY_FRAMES = 1000;
/** Flushes of a segment under way at once: of a disk that hangs no more are asked. */
const MAX_FLUSHES = 2;
/** A flush that takes longer is worth telling. */
const WAITING_MS = 5000;

export class Recorder {
  readonly #deps: RecorderDeps;
  readonly #options: Required<Omit<RecorderOptions, 'startUtcMs'>> & Pick<RecorderOptions, 'startUtcMs'>;
  readonly #states: readonly TrackState[];
  readonly #leading: number;
  #run: Run | undefined;
  #segment: OpenSegment | undefined;
  #interruption: Interruption | undefined;
  readonly #backoff = new Backoff();
  readonly #ledger: Ledger;
  readonly #left: LeftSegments;
  #early: { track: number; frame: PlacedFrame }[] = [];
  /** Every segment of this recording, for statistics and for taking it back. */
  readonly #made: { readonly id: string; readonly path: string }[] = [];
  /** Segments that are not durable yet as a whole: being written, being sealed, or left. */
  #unsealed: OpenSegment[] = [];
  /** Sealings, flushes and recoveries under way. */
  readonly #background = new Set<Promise<void>>();
  /** What ends the recording. */
  #failure: unknown;
  /** Aborted by it: a source that is silent must not keep it from being told. */
  readonly #ended = new AbortController();
  #recordedTicks = 0;
  #lastFlushMs = 0;
  #longestFlushMs = 0;
  /** Where the run's latest frame of any track ends, seconds. */
  #latestS: number | undefined;

  /** `tracks` and `options` have been checked (options.ts). */
  constructor(tracks: readonly Track[], deps: RecorderDeps, options: RecorderOptions) {
    this.#deps = deps;
    this.#options = { ...DEFAULTS, ...options };
    this.#states = tracks.map((track, index) => new TrackState(track, index));
    this.#leading = leadingOf(tracks);
    this.#ledger = new Ledger(tracks.length);
    const { disk, native, flusher, sink } = deps;
    this.#left = new LeftSegments({ disk, native, flusher, sink, archive: dirname(deps.directory) }, this.#ledger);
  }

  stats(): RecordingStats {
    const waiting = performance.now() - (this.#segment?.oldestFlushMs ?? Infinity) > WAITING_MS;
    return {
      appended: this.#ledger.appended,
      flushed: this.#ledger.flushed,
      dropped: this.#states.map((state) => state.dropped),
      lost: this.#ledger.lost,
      state: this.#interruption !== undefined ? 'interrupted' : waiting ? 'waiting' : 'recording',
      cause: this.#interruption?.cause,
      segments: this.#made.length,
      recordedMs: (this.#recordedTicks * 1000) / this.#leadingState.track.timescale,
      bytesAtRisk: this.#bytesAtRisk(),
      lastFlushMs: this.#lastFlushMs,
      longestFlushMs: this.#longestFlushMs,
    };
  }

  #bytesAtRisk(): number {
    const waiting = this.#states.reduce((sum, state) => sum + state.waitingBytes, 0);
    const early = this.#early.reduce((sum, { frame }) => sum + frame.data.byteLength, waiting);
    return this.#unsealed.reduce((sum, segment) => sum + segment.bytesAtRisk, early);
  }

  /** Records until `frames` ends, `stop` aborts, or something fails; then everything is sealed. */
  async record(frames: AsyncIterable<Frame>, stop: AbortSignal): Promise<void> {
    const stopTicking = this.#deps.flusher.every(this.#options.flushIntervalMs, () => this.#tick());
    try {
      const ending = AbortSignal.any([stop, this.#ended.signal]);
      await takeUntilAborted(frames, ending, (frame) => this.#accept(frame));
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

  /** A promise only where something has to be waited for: of most frames nothing has. */
  #accept(frame: Frame): Promise<void> | undefined {
    const state = this.#states[frame.track];
    if (state === undefined) {
      throw new FootageError('E_FRAME', `A frame names track ${frame.track}, which the recording does not have.`);
    }
    const leading = frame.track === this.#leading;
    state.check(frame, leading);
    const seconds = frame.dts / state.track.timescale;
    const stalled = this.#latestS !== undefined && seconds > this.#latestS + MAX_STALL_S;
    const stepped = frame.newRun !== undefined && this.#run !== undefined;
    if (stepped || stalled || state.jumpsBack(frame.dts)) this.#endRun();
    const placed = state.place(frame);
    if (frame.newTrack !== undefined) state.configure(frame.newTrack);
    this.#latestS = Math.max(this.#latestS ?? seconds, state.endS());
    const preparing = leading ? this.#prepareSegment(placed, frame.newTrack !== undefined) : undefined;
    if (preparing === undefined) return this.#write(state, placed);
    return preparing.then(() => this.#write(state, placed));
  }

  #write(state: TrackState, frame: PlacedFrame): Promise<void> | undefined {
    const segment = this.#segment;
    if (segment === undefined) {
      this.#keepEarly(state, frame);
      return undefined;
    }
    this.#recordedTicks += segment.write(state, frame);
    if (segment.writer.pendingBytes <= MAX_PENDING_BYTES) return undefined;
    return segment.writer.written().catch((error: unknown) => this.#failed(segment, error));
  }

  /** Before a frame of the leading track: opens the first segment of a run, or cuts. `changed`: its track has. */
  #prepareSegment(frame: PlacedFrame, changed: boolean): Promise<void> | undefined {
    const segment = this.#segment;
    if (segment === undefined) {
      if (!frame.sync || !this.#backoff.isDue(performance.now())) return undefined;
      return this.#run === undefined ? this.#beginRun(frame) : this.#openSegment(frame);
    }
    const { bytes } = segment.writer;
    const ms = ((frame.dts - segment.firstDts) * 1000) / this.#leadingState.track.timescale;
    const due = ms >= this.#options.segmentDurationMs || bytes >= this.#options.segmentBytes;
    if (!changed && !(due && frame.sync) && bytes < 2 * this.#options.segmentBytes) return undefined;
    this.#closeSegment(segment, frame.dts);
    return this.#openSegment(frame);
  }

  #keepEarly(state: TrackState, frame: PlacedFrame): void {
    if (this.#interruption !== undefined) {
      this.#ledger.lose(state.index);
      return;
    }
    const leading = state.index === this.#leading;
    if (!leading) this.#early.push({ track: state.index, frame });
    if (leading || this.#early.length > MAX_EARLY_FRAMES) state.dropped++;
    if (this.#early.length > MAX_EARLY_FRAMES) this.#early.shift();
  }

  /** Sound that waited for a picture that did not come. */
  #dropEarly(): void {
    for (const { track } of this.#early) {
      const state = this.#states[track];
      if (state !== undefined) state.dropped++;
    }
    this.#early = [];
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
      if (state !== undefined && this.#segment !== undefined)
        this.#recordedTicks += this.#segment.write(state, earlier);
      else this.#ledger.lose(track);
    }
  }

  /** Opens a segment that begins with `frame`; where the disk does not let it, the recording is interrupted. */
  async #openSegment(frame: PlacedFrame): Promise<void> {
    try {
      if (this.#made.length > 0 || this.#interruption !== undefined) await this.#deps.checkLock();
      const startUtcMs = await this.#createSegment(frame);
      this.#resume(startUtcMs);
    } catch (error) {
      if (!this.#outlives(error)) throw error;
      const run = this.#run;
      const pts = frame.dts + frame.compositionOffset;
      const startUtcMs =
        run === undefined ? this.#deps.now() : wallTimeOf(run.anchor, pts, this.#leadingState.track.timescale);
      const lostBefore = this.#ledger.lost;
      this.#loseRest();
      this.#interrupt(error, startUtcMs, lostBefore);
    }
  }

  /** Returns the wall time of its first frame. */
  async #createSegment(frame: PlacedFrame): Promise<number> {
    const run = this.#run;
    if (run === undefined) throw new RangeError('a segment belongs to a run');
    const head: Head = {
      segment: randomBytes(16).toString('hex'),
      camera: this.#deps.camera,
      run: run.id,
      sequence: run.sequence,
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
    run.sequence++;
    this.#made.push({ id: writer.id, path: writer.path });
    const segment = new OpenSegment({
      ...{ writer, run, leading: this.#leading, timescale: this.#leadingState.track.timescale },
      ...{ account: this.#ledger.open(), firstDts: frame.dts, crc32c: this.#deps.native.crc32c },
    });
    this.#segment = segment;
    this.#unsealed = [...this.#unsealed.filter(({ account }) => !account.settled), segment];
    this.#deps.sink.opened({ path: writer.path, head, startUtcMs });
    return startUtcMs;
  }

  #endRun(): void {
    if (this.#segment !== undefined) this.#closeSegment(this.#segment, undefined);
    for (const state of this.#states) state.reset();
    this.#latestS = undefined;
    this.#dropEarly();
    this.#run = undefined;
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Writes what still waits and seals in the background. `nextDts`: where the leading track goes on, if it does. */
  #closeSegment(segment: OpenSegment, nextDts: number | undefined): void {
    for (const state of this.#states) this.#recordedTicks += segment.writeRest(state, nextDts === undefined);
    this.#segment = undefined;
    const ends = this.#states.map((_, track): TrackEnd => {
      const end = segment.ends[track];
      if (end === undefined) return { endDts: undefined, estimated: false };
      const followed = track === this.#leading && nextDts !== undefined && this.#leadingState.track.kind === 'video';
      return followed ? { endDts: nextDts, estimated: false } : end;
    });
    this.#inBackground(this.#seal(segment, ends).catch((error: unknown) => this.#failed(segment, error)));
  }

  async #seal({ writer, account }: OpenSegment, ends: readonly TrackEnd[]): Promise<void> {
    const trailer = await writer.seal(ends);
    account.settle();
    // Before the catalog is told: of a segment that it knows as sealed nobody would look for a pseudo-header any more. One
    // that cannot be removed is in nobody's way.
    await Promise.allSettled([writer.discardIndex(), writer.close()]);
    this.#deps.sink.sealed({ path: writer.path, trailer });
  }

  /** At every tick: flushes what is being written, and tries to seal what had to be left. */
  #tick(): void {
    if (this.#interruption === undefined) {
      const recovering = this.#left.recoverIfDue(performance.now());
      if (recovering !== undefined) this.#inBackground(recovering);
    }
    const segment = this.#segment;
    if (segment === undefined || segment.flushes >= MAX_FLUSHES) return;
    this.#inBackground(this.#flush(segment).catch((error: unknown) => this.#failed(segment, error)));
  }

  async #flush(segment: OpenSegment): Promise<void> {
    const beganMs = performance.now();
    try {
      await segment.flush();
    } finally {
      this.#lastFlushMs = performance.now() - beganMs;
      this.#longestFlushMs = Math.max(this.#longestFlushMs, this.#lastFlushMs);
    }
  }

  /** What ends the recording, unless something else has. */
  #fail(error: unknown): void {
    this.#failure ??= error;
    this.#ended.abort();
  }

  #inBackground(work: Promise<void>): void {
    const watched: Promise<void> = work
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#background.delete(watched));
    this.#background.add(watched);
  }

  #outlives(error: unknown): error is FootageError {
    return this.#deps.endOnDiskFault !== true && isDiskFault(error);
  }

  /** Writing, flushing or sealing a segment failed: it is left as it is, until recovery can seal it. */
  #failed(segment: OpenSegment, error: unknown): void {
    const { account, writer } = segment;
    if (account.abandoned || account.settled) return;
    if (!this.#outlives(error)) {
      this.#fail(error);
      this.#inBackground(writer.close());
      return;
    }
    // What was written since the last good sync may be in memory only.
    const unsynced = error.code === 'E_FLUSH';
    // Those count as lost from here on.
    if (unsynced) this.#unsealed = this.#unsealed.filter((one) => one !== segment);
    const lostBefore = this.#ledger.lost;
    this.#ledger.abandon(account, unsynced);
    if (this.#segment === segment) this.#leave(segment, error, unsynced, lostBefore);
    else this.#noteLost(segment, error, unsynced, lostBefore);
    const left = { id: writer.id, path: writer.path, account, cause: error };
    const rewriteFrom = unsynced ? writer.durableTo : undefined;
    // Also when it cannot be closed well: nobody uses it any more.
    const add = () => this.#left.add({ ...left, rewriteFrom });
    this.#inBackground(writer.close().then(add, add));
  }

  /** What was still to be written of a segment that had been cut, and gone on behind, is lost. */
  #noteLost(segment: OpenSegment, error: FootageError, unsynced: boolean, lostBefore: readonly number[]): void {
    this.#deps.sink.left(error);
    const lost = this.#ledger.lostSince(lostBefore);
    const [startUtcMs, endUtcMs] = [segment.endUtcMs(unsynced), segment.givenToUtcMs];
    if (lost.some((count) => count > 0)) this.#deps.sink.resumed({ startUtcMs, endUtcMs, cause: error.code, lost });
  }

  /** The segment that is being written cannot be: the recording is interrupted. */
  #leave(segment: OpenSegment, cause: FootageError, unsynced: boolean, lostBefore: readonly number[]): void {
    this.#segment = undefined;
    this.#loseRest();
    this.#interrupt(cause, segment.endUtcMs(unsynced), lostBefore);
  }

  /** Sound that waits for its group, or its length: it must not begin the segment behind the gap. */
  #loseRest(): void {
    for (const state of this.#states) this.#ledger.lose(state.index, state.dropRest());
  }

  #interrupt(cause: FootageError, startUtcMs: number, lostBefore: readonly number[]): void {
    this.#backoff.failed(performance.now());
    if (this.#interruption !== undefined) return;
    this.#interruption = { cause, startUtcMs, lostBefore };
    this.#deps.sink.interrupted(cause);
  }

  /** There is a segment again, from `endUtcMs` on. */
  #resume(endUtcMs: number): void {
    this.#backoff.succeeded(performance.now());
    const interruption = this.#interruption;
    if (interruption === undefined) return;
    this.#interruption = undefined;
    const { startUtcMs, cause } = interruption;
    const lost = this.#ledger.lostSince(interruption.lostBefore);
    this.#deps.sink.resumed({ startUtcMs, endUtcMs, cause: cause.code, lost });
  }

  /**
   * Seals what is open, or, after a failure, leaves it as it is for recovery. What the disk still does not let be sealed
   * is a failure, too.
   */
  async #finish(): Promise<void> {
    const segment = this.#segment;
    if (segment !== undefined && this.#failure === undefined) this.#closeSegment(segment, undefined);
    this.#dropEarly();
    while (this.#background.size > 0) await Promise.all(this.#background);
    await this.#left.recover();
    this.#unsealed = this.#unsealed.filter(({ account }) => !account.settled);
    this.#failure ??= this.#interruption?.cause ?? this.#left.cause;
    if (segment?.account.settled === false && !segment.account.abandoned) await segment.writer.close();
  }
}
