/**
 * Whether a camera's frames go to the disk or into the pre-event buffer. It begins and ends recordings as they are asked
 * for, as the camera comes and goes, and when one fails.
 *
 * It is off, or on: frames go into the queue of a recording. A recording belongs to one connection.
 *
 * Invariants: every frame goes to one place, in the order in which they come; a recording begins at a sync sample of the
 * leading track, and ends where the next one could begin, unless the camera ends it; one begins only when the one before
 * it is sealed, and its frames wait for that.
 */
import type { CameraGap } from '../camera-health.ts';
import { type ErrorCode, FootageError, ioError } from '../errors.ts';
import { FrameQueue } from '../ingest/frame-queue.ts';
import { type Frame, leadingOf, type Track } from '../media.ts';
import { PreEventBuffer } from '../recorder/pre-event.ts';
import type { Recording } from '../recorder/recording.ts';
import { MAX_EARLY_FRAMES, type RecordingStats } from '../recorder/recorder.ts';
import { Gaps } from './gaps.ts';

export interface BeginRecording {
  readonly tracks: readonly Track[];
  readonly frames: AsyncIterable<Frame>;
  /** What was not recorded before it, though it should have been. */
  readonly gaps: readonly CameraGap[];
  /** Aborted when another writer of the camera shall not be waited for any more. */
  readonly signal: AbortSignal;
  /** The disk has failed under it, and: it goes on, the gap is noted. */
  readonly interrupted: (cause: FootageError) => void;
  readonly resumed: (gap: CameraGap) => void;
}

export interface SwitchDeps {
  readonly begin: (request: BeginRecording) => Promise<Recording>;
  /** Notes in the archive what was missed, when no recording begins any more that would. */
  readonly noteGaps: (gaps: readonly CameraGap[]) => Promise<void>;
  /** Bytes that may wait for a recording before the camera has to. */
  readonly maxWaitingBytes: () => number;
  /** Ms of a clock that is never set. */
  readonly nowMs: () => number;
  /** Wall clock, Unix ms. */
  readonly wallMs: () => number;
  readonly onGap: (gap: CameraGap) => void;
  /** Frames go to the disk now, or do not. `failure`: why not, though they should. */
  readonly onRecording: (recording: boolean, failure: FootageError | undefined) => void;
}

export interface SwitchOptions {
  readonly preEventMs: number;
  readonly preEventBytes: number;
  readonly postEventMs: number;
}

export interface SwitchStats {
  /** `off`: there is no recording, or it is only being begun. `waiting`: frames have not been taken for more than 5 s. */
  readonly state: RecordingStats['state'] | 'off';
  readonly lostFrames: number;
  readonly bytesAtRisk: number;
  readonly flush: { readonly lastMs: number; readonly longestMs: number };
}

/** Frames that wait for longer are worth telling. */
const WAITING_MS = 5000;
/** A recording that failed is tried again after this time. */
const RETRY_MS = 5000;

interface Active {
  readonly tracks: readonly Track[];
  readonly queue: FrameQueue<Frame>;
  /** Wall times of its frames, Unix ms: of the first, the newest, and the newest that the recorder has taken. */
  readonly startUtcMs: number;
  lastUtcMs: number;
  takenUtcMs: number;
  /** When the recorder asked for a frame last, by `nowMs`. */
  askedMs: number;
  /** Frames handed over to it. */
  frames: number;
  /** What was not recorded before it: told when it has begun. */
  readonly before: CameraGap | undefined;
  recording: Recording | undefined;
  /** Wall time since which its disk fails. */
  interruptedUtcMs: number | undefined;
}

export class RecordingSwitch {
  readonly #deps: SwitchDeps;
  readonly #options: SwitchOptions;
  readonly #gaps: Gaps;
  readonly #closing = new AbortController();
  #tracks: readonly Track[] = [];
  #leading = 0;
  #buffer: PreEventBuffer | undefined;
  #active: Active | undefined;
  /** Sound that came before the first picture that a recording can begin with. */
  #early: Frame[] = [];
  /** Until when recording is asked for, by `nowMs`; undefined: it is not. */
  #untilMs: number | undefined;
  /** Since when it is, by the wall clock. */
  #wantedUtcMs = 0;
  /** Why there is no connection; undefined while there is one, and before the first. */
  #offline: ErrorCode | undefined;
  /** After a failure: when the next recording may begin. */
  #retryMs: number | undefined;
  #roomMade: (() => void) | undefined;
  #overflows = 0;
  #lostFrames = 0;
  /** Frames that came since a failure and may still be held. */
  #doubtful = 0;
  /** Recordings that are being begun, are under way, or are being ended. */
  readonly #followed = new Set<Active>();
  #allEnded: Promise<void> = Promise.resolve();

  constructor(deps: SwitchDeps, options: SwitchOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#gaps = new Gaps(deps.onGap);
  }

  /** Whether recording is asked for; a stop that waits for its time is none yet. */
  get wanted(): boolean {
    return this.#untilMs !== undefined && this.#deps.nowMs() < this.#untilMs;
  }

  get recording(): Recording | undefined {
    return this.#active?.recording;
  }

  get preEvent(): { readonly heldMs: number; readonly bytes: number; readonly overflows: number } | null {
    if (this.#options.preEventMs === 0) return null;
    const { heldMs = 0, bytes = 0, overflows = 0 } = this.#buffer ?? {};
    return { heldMs, bytes, overflows: this.#overflows + overflows };
  }

  stats(): SwitchStats {
    const active = this.#active;
    const now = active?.recording?.stats();
    const isWaiting =
      active !== undefined && active.queue.bytes > 0 && this.#deps.nowMs() - active.askedMs > WAITING_MS;
    const followed = [...this.#followed].map(({ queue, recording }) => ({ queue, stats: recording?.stats() }));
    const inFlight = followed.reduce((sum, { queue, stats }) => sum + queue.bytes + (stats?.bytesAtRisk ?? 0), 0);
    return {
      state: isWaiting ? 'waiting' : (now?.state ?? 'off'),
      lostFrames: followed.reduce((sum, { stats }) => sum + total(stats?.lost), this.#lostFrames),
      bytesAtRisk: inFlight,
      flush: { lastMs: now?.lastFlushMs ?? 0, longestMs: now?.longestFlushMs ?? 0 },
    };
  }

  /** Without `forMs` until it is stopped. Never ends sooner than what was asked for before. */
  start(forMs = Infinity): void {
    if (!this.wanted) {
      this.#endWish();
      this.#wantedUtcMs = this.#deps.wallMs();
      if (this.#offline !== undefined) this.#gaps.begin(this.#wantedUtcMs, this.#offline);
    }
    this.#untilMs = Math.max(this.#untilMs ?? -Infinity, this.#deps.nowMs() + forMs);
    if (this.#active === undefined && this.#holdsFrames && this.#mayBegin) this.#beginFromBuffer();
  }

  /** A recording that has failed is not begun again at once, however often it is asked for. */
  get #mayBegin(): boolean {
    return this.#deps.nowMs() >= (this.#retryMs ?? -Infinity);
  }

  /** The time behind the event begins now. */
  stop(): void {
    if (this.#untilMs === undefined) return;
    this.#untilMs = Math.min(this.#untilMs, this.#deps.nowMs() + this.#options.postEventMs);
    if (!this.wanted) this.#endWish();
  }

  /** Recording is not asked for any more, or was until its time was over: what is missing is missing until then. */
  #endWish(): void {
    if (this.#untilMs === undefined) return;
    const overMs = Math.max(0, this.#deps.nowMs() - this.#untilMs);
    this.#gaps.end(this.#gaps.take(this.#deps.wallMs() - overMs));
    this.#untilMs = undefined;
    this.#retryMs = undefined;
    this.#loseDoubtful(0);
  }

  /** A connection begins. */
  connected(tracks: readonly Track[]): void {
    this.#tracks = tracks;
    this.#leading = leadingOf(tracks);
    this.#offline = undefined;
    this.#early = [];
    const { preEventMs, preEventBytes } = this.#options;
    this.#overflows += this.#buffer?.overflows ?? 0;
    this.#buffer = preEventMs === 0 ? undefined : new PreEventBuffer(tracks, { preEventMs, maxBytes: preEventBytes });
  }

  /** Takes a frame; what it returns, if anything, has to be awaited before the next one. */
  take(frame: Frame): Promise<void> | undefined {
    if (frame.track === this.#leading && frame.sync) this.#turn(frame);
    const { newTrack } = frame;
    if (newTrack !== undefined) this.#tracks = this.#tracks.map((one, i) => (i === frame.track ? newTrack : one));
    const active = this.#active;
    if (active === undefined) {
      this.#hold(frame);
      return undefined;
    }
    push(active, frame);
    const hasRoom = active.queue.bytes <= this.#deps.maxWaitingBytes();
    if (hasRoom || this.#closing.signal.aborted) return undefined;
    return new Promise((resolve) => {
      this.#roomMade = resolve;
    });
  }

  #hold(frame: Frame): void {
    const isMissed = this.#retryMs !== undefined && this.wanted;
    if (isMissed && this.#buffer === undefined) this.#lostFrames++;
    else if (isMissed) this.#doubtful++;
    else if (this.#buffer === undefined && this.wanted && frame.track !== this.#leading) this.#keepEarly(frame);
    this.#buffer?.push(frame);
  }

  #keepEarly(frame: Frame): void {
    this.#early.push(frame);
    if (this.#early.length > MAX_EARLY_FRAMES) this.#early.shift();
  }

  /** Of the frames that came since a failure so many are held. */
  #loseDoubtful(held: number): void {
    this.#lostFrames += Math.max(0, this.#doubtful - held);
    this.#doubtful = 0;
  }

  get #holdsFrames(): boolean {
    return this.#buffer !== undefined && this.#buffer.bytes > 0;
  }

  /** At a frame where a recording can begin or end. */
  #turn(frame: Frame): void {
    const { wanted } = this;
    if (!wanted) {
      this.#endWish();
      this.#endActive();
    } else if (this.#active === undefined && this.#mayBegin) {
      if (this.#holdsFrames) this.#beginFromBuffer();
      else this.#begin(this.#tracks, this.#early, frame.utcMs ?? this.#deps.wallMs());
    }
  }

  #beginFromBuffer(): void {
    const tracks = this.#buffer?.tracks ?? this.#tracks;
    const held = this.#buffer?.drain() ?? [];
    this.#begin(tracks, held, held[0]?.utcMs ?? this.#deps.wallMs());
  }

  #begin(tracks: readonly Track[], held: readonly Frame[], startUtcMs: number): void {
    const queue = new FrameQueue<Frame>((bytes) => {
      if (bytes <= this.#deps.maxWaitingBytes() / 2) this.#makeRoom();
    });
    const active: Active = {
      ...{ tracks, queue, startUtcMs, lastUtcMs: startUtcMs, takenUtcMs: startUtcMs, frames: 0 },
      ...{
        askedMs: this.#deps.nowMs(),
        before: this.#gaps.take(startUtcMs),
        recording: undefined,
        interruptedUtcMs: undefined,
      },
    };
    this.#loseDoubtful(held.length);
    this.#retryMs = undefined;
    for (const frame of held) push(active, frame);
    this.#early = [];
    this.#active = active;
    this.#followed.add(active);
    this.#allEnded = this.#allEnded.then(() => this.#follow(active));
  }

  /** Until the recording has ended, well or not. Never throws. */
  async #follow(active: Active): Promise<void> {
    try {
      active.recording = await this.#beginRecording(active);
      this.#deps.onRecording(true, undefined);
      const stats = await active.recording.finished;
      this.#followed.delete(active);
      this.#lostFrames += total(stats.lost);
      this.#ended(active);
    } catch (error) {
      this.#followed.delete(active);
      this.#failed(active, ioError(error, 'recording a camera'));
    }
  }

  async #beginRecording(active: Active): Promise<Recording> {
    const { tracks, before } = active;
    const waiting = this.#gaps.waiting;
    const recording = await this.#deps.begin({
      ...{ tracks, frames: taken(active, this.#deps.nowMs), signal: this.#closing.signal },
      gaps: before === undefined ? waiting : [...waiting, before],
      interrupted: (cause) => this.#interrupted(active, cause),
      resumed: (gap) => this.#resumed(active, gap),
    });
    this.#gaps.noted(waiting);
    if (before !== undefined) this.#deps.onGap(before);
    return recording;
  }

  #interrupted(active: Active, cause: FootageError): void {
    active.interruptedUtcMs = active.takenUtcMs;
    if (this.#active === active) this.#deps.onRecording(false, cause);
  }

  #resumed(active: Active, gap: CameraGap): void {
    active.interruptedUtcMs = undefined;
    this.#deps.onGap(gap);
    if (this.#active === active) this.#deps.onRecording(true, undefined);
  }

  #ended(active: Active): void {
    // Somebody has stopped the recording itself: that is a wish, too.
    if (this.#active === active) {
      this.#untilMs = undefined;
      this.#endActive();
    }
    if (this.#active === undefined) this.#deps.onRecording(false, undefined);
  }

  #failed(active: Active, failure: FootageError): void {
    const stats = active.recording?.stats();
    this.#lostFrames += Math.max(0, active.frames - total(stats?.appended) - total(stats?.dropped));
    const isCurrent = this.#active === active;
    if (isCurrent) this.#endActive();
    this.#noteMissing(active, failure.code, isCurrent && this.wanted);
    if (isCurrent) this.#retryMs = this.#deps.nowMs() + RETRY_MS;
    this.#deps.onRecording(this.#active !== undefined, failure);
  }

  /** What is missing of a recording that failed, and before it if it has never begun. */
  #noteMissing(active: Active, cause: ErrorCode, lasts: boolean): void {
    const { before, recording, takenUtcMs, lastUtcMs, interruptedUtcMs = takenUtcMs } = active;
    let startUtcMs = recording === undefined ? active.startUtcMs : interruptedUtcMs;
    if (recording === undefined && before?.cause === cause) startUtcMs = before.startUtcMs;
    else if (recording === undefined) this.#gaps.end(before);
    if (lasts) this.#gaps.begin(startUtcMs, cause);
    else this.#gaps.end({ startUtcMs, endUtcMs: lastUtcMs, cause });
  }

  /** The connection has ended, for that reason. */
  disconnected(cause: ErrorCode): void {
    const lastUtcMs = this.#active?.lastUtcMs;
    this.#endActive();
    this.#buffer?.clear();
    this.#loseDoubtful(0);
    this.#offline = cause;
    if (this.wanted) this.#gaps.begin(lastUtcMs ?? this.#wantedUtcMs, cause);
    else this.#endWish();
  }

  #endActive(): void {
    this.#active?.queue.end();
    this.#active = undefined;
    this.#makeRoom();
  }

  #makeRoom(): void {
    this.#roomMade?.();
    this.#roomMade = undefined;
  }

  /** Nobody waits any longer: for room, or for a camera that somebody else records. What has begun goes on. */
  abandonWaits(): void {
    this.#closing.abort(new FootageError('E_CLOSED', 'The camera was closed before it could be recorded.'));
    this.#makeRoom();
  }

  /** Ends the recording; resolves when all are sealed. */
  async close(): Promise<void> {
    this.#endWish();
    this.abandonWaits();
    this.#endActive();
    await this.#allEnded;
    const { waiting } = this.#gaps;
    if (waiting.length > 0) await this.#deps.noteGaps(waiting);
    this.#gaps.noted(waiting);
  }
}

function push(active: Active, frame: Frame): void {
  active.frames++;
  active.lastUtcMs = frame.utcMs ?? active.lastUtcMs;
  active.queue.push(frame);
}

/** The frames of a recording, for its recorder. */
function taken(active: Active, nowMs: () => number): AsyncIterable<Frame> {
  const { queue } = active;
  const next = async () => {
    active.askedMs = nowMs();
    const result = await queue.next();
    active.takenUtcMs = result.value?.utcMs ?? active.takenUtcMs;
    return result;
  };
  return { [Symbol.asyncIterator]: () => ({ next, return: () => queue.return() }) };
}

const total = (counts: readonly number[] = []): number => counts.reduce((sum, count) => sum + count, 0);
