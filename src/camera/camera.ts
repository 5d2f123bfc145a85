/**
 * A live camera: connected, watched over and connected again, for months. Its frames get their wall time (ingest) and go
 * to the disk or into the pre-event buffer (recording-switch.ts); what happens is told by events and by `health()`.
 *
 * It is connecting, or online, or waiting for the next attempt, or closed. Loop thread only.
 */
import { EventEmitter } from 'node:events';
import type { CameraGap, CameraHealth, CameraState, CameraTrouble } from '../camera-health.ts';
import { type ErrorCode, FootageError } from '../errors.ts';
import { CameraClock, type ClockStep } from '../ingest/camera-clock.ts';
import type { SourceConnection } from '../ingest/source.ts';
import type { Frame, Track } from '../media.ts';
import { checkKeys } from '../option-keys.ts';
import type { Recording } from '../recorder/recording.ts';
import { checkTracks } from '../recorder/tracks.ts';
import { takeUntilAborted } from '../recorder/until-aborted.ts';
import type { ConnectGate } from './connect-gate.ts';
import { checkSourceFrame, closeWithin, connectWithin, sourceFailure } from './guarded-source.ts';
import { Meter } from './meter.ts';
import type { CheckedCameraOptions } from './options.ts';
import { type BeginRecording, RecordingSwitch } from './recording-switch.ts';
import { Watch, WATCH_MS } from './watch.ts';

/**
 * What happens to a camera. A listener that throws, or rejects, is told by a warning of the process (FOOTAGE_LISTENER) and
 * changes nothing: the camera and its other listeners go on.
 */
export interface CameraEvents {
  /** Connected, lost, or tried in vain; `trouble`: why it is not online. */
  state: [state: CameraState, trouble: CameraTrouble | null];
  /** Frames go to the disk now, or do not; `failure`: why not, though they should. */
  recording: [recording: boolean, failure: FootageError | null];
  /** Nothing was recorded from here to there, though it should have been. */
  gap: [gap: CameraGap];
  /** A track goes on with another configuration. */
  configuration: [track: Track];
  /** Wall time steps. */
  clock: [step: ClockStep];
  /** Something of the camera is left out, or changed: a readable line. */
  note: [line: string];
}

export interface CameraDeps {
  readonly begin: (request: BeginRecording) => Promise<Recording>;
  /** Notes gaps in the archive. Never throws. */
  readonly noteGaps: (gaps: readonly CameraGap[]) => Promise<void>;
  readonly gate: ConnectGate;
  /** Bytes that may wait in memory for the disk. */
  readonly maxWaitingBytes: () => number;
  /** Wall clock, Unix ms. */
  readonly wallMs: () => number;
  /** Resolves after so long, or when the signal aborts. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  /** It is closed for good. */
  readonly onClosed: () => void;
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;
/** For the stubborn. A camera may lock out who tries a password too often. */
const STUBBORN_WAIT_MS = 60_000;
/** What does not go away by itself. */
export const STUBBORN: ReadonlySet<ErrorCode> = new Set([
  'E_CAMERA_AUTH',
  'E_CAMERA_STREAM',
  'E_FFMPEG',
  'E_INPUT_UNSUPPORTED',
]);
/** A connection that lasted so long was a good one: the next attempt comes soon. */
const GOOD_MS = 10_000;
/** Waits differ by up to this share, so that cameras that were lost together do not come back all at once. */
const JITTER = 0.25;

const monotonicMs = () => performance.now();

export class Camera extends EventEmitter<CameraEvents> {
  readonly name: string;
  readonly #options: CheckedCameraOptions;
  readonly #deps: CameraDeps;
  readonly #switch: RecordingSwitch;
  readonly #meter = new Meter();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #state: CameraState = 'connecting';
  #trouble: CameraTrouble | null = null;
  /** Why nothing is recorded, though it should be. */
  #failure: CameraTrouble | null = null;
  /** Since when the disk has been seen not to answer. */
  #silence: CameraTrouble | null = null;
  #connectedUtcMs: number | null = null;
  #connections = 0;
  #gaps: { count: number; totalMs: number; last: CameraGap | null } = { count: 0, totalMs: 0, last: null };
  #clock: { cameraOffsetMs: number | null; steps: number } = { cameraOffsetMs: null, steps: 0 };
  #waitMs = FIRST_WAIT_MS;

  /** @internal `archive.camera()` makes one. */
  constructor(name: string, options: CheckedCameraOptions, deps: CameraDeps) {
    super();
    this.name = name;
    this.#options = options;
    this.#deps = deps;
    this.#switch = new RecordingSwitch(
      {
        begin: deps.begin,
        noteGaps: deps.noteGaps,
        maxWaitingBytes: deps.maxWaitingBytes,
        nowMs: monotonicMs,
        wallMs: deps.wallMs,
        onGap: (gap) => this.#noteGap(gap),
        onRecording: (recording, failure) => this.#noteRecording(recording, failure),
      },
      options,
    );
    if (options.record === 'always') this.#switch.start();
    this.#running = this.#run();
  }

  /** The recording under way; each connection has one of its own. To stop it is to stop recording, at once. */
  get recording(): Recording | undefined {
    return this.#switch.recording;
  }

  /**
   * Frames go to the disk: what was held in memory first. With `forMs` it stops by itself, unless more was asked for before.
   * @throws FootageError E_CLOSED; RangeError, TypeError for options
   */
  startRecording(options: { readonly forMs?: number } = {}): void {
    checkKeys(options, { forMs: true }, 'startRecording');
    const { forMs = Infinity } = options;
    if (!(typeof forMs === 'number' && forMs > 0))
      throw new RangeError(`forMs is a number above 0, not ${String(forMs)}`);
    if (this.#stop.signal.aborted) {
      throw new FootageError('E_CLOSED', `Camera "${this.name}" is closed: connect it again.`);
    }
    if (!this.#switch.wanted) this.#failure = null;
    this.#switch.start(forMs);
  }

  /** Recording goes on for the post-event time, and to the next sync sample. */
  stopRecording(): void {
    this.#switch.stop();
  }

  /** Ends the connection and seals what was recorded. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#switch.abandonWaits();
    await this.#running;
    await this.#switch.close();
    if (this.#state === 'closed') return;
    this.#deps.onClosed();
    this.#become('closed', null);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** How it is now. */
  health(): CameraHealth {
    const now = monotonicMs();
    const { wanted } = this.#switch;
    const { state, lostFrames, bytesAtRisk, flush } = this.#switch.stats();
    return {
      camera: this.name,
      state: this.#state,
      wanted,
      recording: state === 'recording',
      error: this.#trouble ?? this.#silentDisk(state === 'waiting') ?? (wanted ? this.#failure : null),
      source: this.#options.source.description,
      connectedUtcMs: this.#connectedUtcMs,
      lastFrameAgeMs: this.#meter.lastFrameAgeMs(now),
      reconnects: Math.max(0, this.#connections - 1),
      bitsPerSecond: this.#meter.bitsPerSecond(now),
      tracks: this.#meter.tracks(now),
      gaps: { ...this.#gaps },
      flush,
      bytesAtRisk,
      lostFrames,
      preEvent: this.#switch.preEvent,
      clock: { ...this.#clock },
    };
  }

  /** Nothing is lost yet: what comes waits in memory. */
  #silentDisk(isSilent: boolean): CameraTrouble | null {
    const what =
      'Frames wait in memory for more than 5 s, to be written: check the disk, and who else records this camera.';
    this.#silence = isSilent ? (this.#silence ?? this.#troubleOf(new FootageError('E_IO', what))) : null;
    return this.#silence;
  }

  #troubleOf({ code, message }: FootageError): CameraTrouble {
    return { code, message, sinceUtcMs: this.#deps.wallMs() };
  }

  /** The same trouble as before has lasted since then. */
  #since(before: CameraTrouble | null, trouble: CameraTrouble): CameraTrouble {
    return trouble.code === before?.code ? { ...trouble, sinceUtcMs: before.sinceUtcMs } : trouble;
  }

  #become(state: CameraState, trouble: CameraTrouble | null): void {
    this.#state = state;
    this.#trouble = trouble === null ? null : this.#since(this.#trouble, trouble);
    this.#tell('state', state, this.#trouble);
  }

  #noteGap(gap: CameraGap): void {
    const { count, totalMs } = this.#gaps;
    this.#gaps = { count: count + 1, totalMs: totalMs + gap.endUtcMs - gap.startUtcMs, last: gap };
    this.#tell('gap', gap);
  }

  #noteRecording(recording: boolean, failure: FootageError | undefined): void {
    this.#failure = recording || failure === undefined ? null : this.#since(this.#failure, this.#troubleOf(failure));
    this.#tell('recording', recording, failure ?? null);
  }

  #noteStep(step: ClockStep): void {
    this.#clock.steps++;
    this.#tell('clock', step);
  }

  /** Not `emit`, which ends at the first listener that throws, and throws into the camera. */
  #tell<E extends keyof CameraEvents>(event: E, ...values: CameraEvents[E]): void {
    const failed = (error: unknown) => {
      const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
      const what = `A listener of "${event}" of camera "${this.name}" has failed, the camera goes on: correct the listener.`;
      process.emitWarning(what, { code: 'FOOTAGE_LISTENER', detail });
    };
    for (const listener of this.rawListeners(event)) {
      try {
        const result: unknown = Reflect.apply(listener, this, values);
        if (result instanceof Promise) result.catch(failed);
      } catch (error) {
        failed(error);
      }
    }
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const failure = await this.#connectOnce();
      this.#connectedUtcMs = null;
      if (signal.aborted) return;
      this.#switch.disconnected(failure.code);
      this.#become('waiting', this.#troubleOf(failure));
      await this.#deps.wait(this.#nextWaitMs(failure.code), signal);
      if (!signal.aborted) this.#become('connecting', this.#trouble);
    }
  }

  #nextWaitMs(code: ErrorCode): number {
    const waitMs = STUBBORN.has(code) ? STUBBORN_WAIT_MS : this.#waitMs;
    this.#waitMs = Math.min(LONGEST_WAIT_MS, 2 * this.#waitMs);
    return waitMs * (1 + JITTER * (2 * Math.random() - 1));
  }

  /** From an attempt to connect until the connection has ended; returns why. */
  async #connectOnce(): Promise<FootageError> {
    const { source, connectTimeoutMs } = this.#options;
    const { signal } = this.#stop;
    try {
      const attempt = () => connectWithin(source, { signal, timeoutMs: connectTimeoutMs });
      const connection = await this.#deps.gate.run(attempt, signal);
      try {
        await this.#use(connection);
      } finally {
        const problem = await closeWithin(connection);
        if (problem !== undefined) this.#tell('note', problem);
      }
      return new FootageError(
        'E_CAMERA_LOST',
        `${source.description} has ended the connection: it is made again by itself.`,
      );
    } catch (error) {
      return sourceFailure(error, source, this.#state === 'online' ? 'E_CAMERA_LOST' : 'E_CAMERA_UNREACHABLE');
    }
  }

  async #use(connection: SourceConnection): Promise<void> {
    const { tracks, notes } = connection;
    checkTracks(tracks);
    const beganMs = monotonicMs();
    this.#connections++;
    this.#connectedUtcMs = this.#deps.wallMs();
    this.#meter.connected(tracks, beganMs);
    this.#switch.connected(tracks);
    this.#become('online', null);
    for (const note of notes) this.#tell('note', note);
    const watch = new Watch(tracks, this.#options, beganMs);
    const ending = new AbortController();
    const end = () => ending.abort();
    this.#stop.signal.addEventListener('abort', end, { once: true });
    if (this.#stop.signal.aborted) end();
    let failure: FootageError | undefined;
    const watching = setInterval(() => {
      failure ??= watch.check(monotonicMs());
      if (failure !== undefined) end();
    }, WATCH_MS);
    try {
      await this.#takeAll(connection, watch, ending.signal);
    } finally {
      clearInterval(watching);
      this.#stop.signal.removeEventListener('abort', end);
      if (monotonicMs() - beganMs > GOOD_MS) this.#waitMs = FIRST_WAIT_MS;
    }
    if (failure !== undefined) throw failure;
  }

  async #takeAll({ tracks, frames }: SourceConnection, watch: Watch, ending: AbortSignal): Promise<void> {
    const clock = new CameraClock({
      tracks,
      monotonicMs,
      wallMs: this.#deps.wallMs,
      onStep: (step) => this.#noteStep(step),
    });
    try {
      await takeUntilAborted(frames, ending, (frame) => {
        checkSourceFrame(frame, tracks, this.#options.source);
        const nowMs = monotonicMs();
        this.#meter.add(frame, nowMs);
        watch.saw(frame, nowMs);
        return this.#hand(clock.take(frame), watch);
      });
    } finally {
      await this.#hand(clock.finish(), watch);
    }
  }

  async #hand(frames: readonly Frame[], watch: Watch): Promise<void> {
    for (const frame of frames) {
      const { cameraUtcMs, utcMs, newTrack } = frame;
      if (cameraUtcMs !== undefined && utcMs !== undefined) this.#clock.cameraOffsetMs = cameraUtcMs - utcMs;
      if (newTrack !== undefined) this.#tell('configuration', newTrack);
      const room = this.#switch.take(frame);
      if (room === undefined) continue;
      watch.pause();
      await room;
      watch.resume(monotonicMs());
    }
  }
}
