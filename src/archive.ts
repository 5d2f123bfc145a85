/**
 * The archive: the composition root that ties recorder, catalog, planner and sender together, and the object that users
 * of the library hold. It knows its recordings; closing it stops them and waits.
 */
import { join, resolve } from 'node:path';
import {
  ArchiveCheck,
  checkVerifyOptions,
  type RepairReport,
  type VerifyOptions,
  type VerifyReport,
} from './archive-check.ts';
import { ArchiveImport, type ImportOptions, type ImportResult } from './archive-import.ts';
import type { Camera } from './camera/camera.ts';
import { LiveCameras } from './camera/live-cameras.ts';
import type { CameraOptions } from './camera/options.ts';
import type { BeginRecording } from './camera/recording-switch.ts';
import { CameraWriters, type TakeOptions } from './camera-writers.ts';
import type { CameraGap } from './camera-health.ts';
import type { Catalog } from './catalog/catalog.ts';
import { readGaps, withCauses } from './catalog/gap-log.ts';
import { checkKnownCamera } from './catalog/known-camera.ts';
import { isWritable, openFolder, openReconciled } from './catalog/open.ts';
import { reconcile, type Unreadable } from './catalog/reconcile.ts';
import type { RecoveryReport } from './catalog/recover-camera.ts';
import { type CameraInfo, listCameras, type Timeline, timelineOf } from './catalog/timeline.ts';
import { createHandler, type Handler, type HandlerOptions } from './http/handler.ts';
import { Lifetime } from './lifetime.ts';
import type { Frame, Track } from './media.ts';
import { native as defaultNative } from './native.ts';
import type { Native } from './native-types.ts';
import { checkKeys, type KeysOf } from './option-keys.ts';
import { RECORDER_KEYS } from './recorder/options.ts';
import { Recording } from './recorder/recording.ts';
import type { RecorderOptions, RecordingStats } from './recorder/recorder.ts';
import { SegmentCache } from './segment/cache.ts';
import { type Disk, nodeDisk, type SegmentIo } from './segment/disk.ts';
import { GroupFlusher } from './segment/flusher.ts';
import { checkCameraName } from './segment/layout.ts';
import { Scrub, type ScrubOptions, type ScrubStats } from './scrub.ts';
import { HlsPlanner, type HlsRequest } from './session/hls.ts';
import type { PacingOptions, PacingPolicy } from './session/pacing.ts';
import { Planner } from './session/planner.ts';
import { Outgoing, type OutgoingStats } from './session/outgoing.ts';
import { answerPolicy, SESSION_KEYS, type SessionRequest } from './session/request.ts';
import { Answer, type AnswerDeps, Session } from './session/session.ts';
import { parseSpan } from './time.ts';

export type {
  CameraOptions,
  ImportOptions,
  ImportResult,
  RecoveryReport,
  RepairReport,
  ScrubOptions,
  ScrubStats,
  SessionRequest,
  VerifyOptions,
  VerifyReport,
};

export interface ArchiveOptions {
  /** Make the folder if it is missing. Default true. */
  readonly create?: boolean;
  /** Change nothing on disk, not even the catalog. Default: only where the folder cannot be written. */
  readonly readOnly?: boolean;
  /** Seal what a crash left open, of cameras that nobody is recording. Default true, unless read-only. */
  readonly recover?: boolean;
  /** How long `record` and `import` wait while somebody else writes (or recovers) their camera, ms. Default 10 000. */
  readonly lockWaitMs?: number;
  /** Limits of what is sent (docs/pacing.md). Default: none, but recording comes first. */
  readonly pacing?: PacingOptions | PacingPolicy;
  /** Addon or twin. Default: what could be loaded. */
  readonly native?: Native;
  /** The file system that is recorded to. Default: this machine's. */
  readonly disk?: Disk;
  /** Wall clock, Unix ms. */
  readonly now?: () => number;
}

export interface RecordOptions extends RecorderOptions {
  readonly tracks: readonly Track[];
  readonly frames: AsyncIterable<Frame>;
  /** Ends the recording: what was appended is sealed. */
  readonly signal?: AbortSignal;
}

export interface ArchiveStats extends OutgoingStats {
  /** Null: none was begun. */
  readonly scrub: ScrubStats | null;
}

const ARCHIVE_KEYS: KeysOf<ArchiveOptions> = {
  create: true,
  readOnly: true,
  recover: true,
  lockWaitMs: true,
  pacing: true,
  native: true,
  disk: true,
  now: true,
};
const RECORD_KEYS: KeysOf<RecordOptions> = { tracks: true, frames: true, signal: true, ...RECORDER_KEYS };
const LOCK_WAIT_MS = 10_000;
/** An archive that is only read looks at the files at most this often. */
const REFRESH_MS = 1000;

/**
 * Opens an archive: reads its catalog (or makes it anew from the files), and recovers what a crash left open, except of
 * cameras that another process is recording.
 * @throws FootageError E_ARCHIVE_MISSING, E_READ_ONLY, E_NO_SQLITE, E_IO; TypeError for an unknown option
 */
export async function openArchive(path: string, options: ArchiveOptions = {}): Promise<Archive> {
  checkKeys(options, ARCHIVE_KEYS, 'openArchive');
  const { lockWaitMs = LOCK_WAIT_MS } = options;
  if (!(lockWaitMs >= 0)) throw new RangeError(`lockWaitMs is 0 or more, not ${lockWaitMs}`);
  const root = resolve(path);
  const io = { disk: options.disk ?? nodeDisk, native: options.native ?? defaultNative };
  await openFolder(io.disk, root, options.create ?? true);
  const readOnly = options.readOnly ?? !(await isWritable(io.disk, root));
  const { catalog, unreadable } = await openReconciled(root, readOnly, io);
  try {
    const archive = new Archive(root, catalog, readOnly, unreadable, io, options);
    if (!readOnly && options.recover !== false) archive.recovered.push(...(await archive.recover()));
    return archive;
  } catch (error) {
    catalog.close();
    throw error;
  }
}

export class Archive {
  /** Absolute path of the folder. */
  readonly root: string;
  readonly readOnly: boolean;
  /** Files that look like segments but cannot be read; recovery sets aside what it cannot understand. */
  readonly unreadable: Unreadable[];
  /** What opening the archive recovered. */
  readonly recovered: RecoveryReport[] = [];
  readonly #catalog: Catalog;
  readonly #io: SegmentIo;
  readonly #cache: SegmentCache;
  readonly #planner: Planner;
  readonly #hls: HlsPlanner;
  readonly #writers: CameraWriters;
  readonly #import: ArchiveImport;
  readonly #check: ArchiveCheck;
  readonly #scrub: Scrub;
  readonly #now: () => number;
  readonly #outgoing: Outgoing;
  readonly #recordings = new Set<Recording>();
  /** Those among them that live cameras have begun, and end. */
  readonly #ofCameras = new WeakSet<Recording>();
  readonly #live: LiveCameras;
  readonly #lifetime = new Lifetime('archive');
  #refreshed: { readonly atMs: number; readonly done: Promise<unknown> } | undefined;

  /** @internal Use `openArchive`. */
  constructor(
    root: string,
    catalog: Catalog,
    readOnly: boolean,
    unreadable: Unreadable[],
    io: SegmentIo,
    options: ArchiveOptions,
  ) {
    this.root = root;
    this.readOnly = readOnly;
    this.unreadable = unreadable;
    this.#catalog = catalog;
    this.#io = io;
    this.#outgoing = new Outgoing(options.pacing, { native: io.native, catalog, readOnly });
    this.#cache = new SegmentCache(io);
    this.#planner = new Planner({ archive: root, catalog, cache: this.#cache });
    this.#hls = new HlsPlanner({ archive: root, catalog, cache: this.#cache });
    this.#now = options.now ?? Date.now;
    this.#writers = new CameraWriters({
      ...{ ...io, root, readOnly, catalog, unreadable, now: this.#now },
      flusher: new GroupFlusher(io.native, this.#outgoing.recordingFirst),
      lockWaitMs: options.lockWaitMs ?? LOCK_WAIT_MS,
      checkOpen: () => this.#lifetime.check(),
    });
    const begin = this.#recordCamera.bind(this);
    const noteGaps = (camera: string, gaps: readonly CameraGap[]) =>
      this.#writers.noteGaps(
        camera,
        gaps.map((gap) => ({ ...gap, lost: [] })),
      );
    this.#live = new LiveCameras({ begin, noteGaps, wallMs: this.#now });
    this.#import = new ArchiveImport({ root, catalog, cache: this.#cache, writers: this.#writers });
    this.#check = new ArchiveCheck({ root, io, catalog, writers: this.#writers });
    const { recordingFirst } = this.#outgoing;
    this.#scrub = new Scrub({ root, io, catalog, check: this.#check, recordingFirst, now: this.#now });
  }

  /**
   * Records frames of a camera until they end, `signal` aborts, or `stop()` is called. Resolves when the camera is ours.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_BUSY, E_FORMAT_VERSION, E_READ_ONLY, E_TRACK; TypeError, RangeError for
   * options; the signal's reason if it aborts while the camera is still somebody else's
   */
  record(camera: string, options: RecordOptions): Promise<Recording> {
    return this.#lifetime.run(() => this.#record(camera, options));
  }

  /** Not a call of the archive's: closing it closes its cameras, which end what they have begun. */
  #recordCamera(camera: string, request: BeginRecording, recorder: RecorderOptions): Promise<Recording> {
    const { tracks, frames, gaps, signal, ...onFault } = request;
    const options = { tracks, frames, ...recorder };
    return this.#record(camera, options, {
      ...{ check: () => signal.throwIfAborted(), whileClosing: true, onFault },
      gaps: gaps.map((gap) => ({ ...gap, lost: tracks.map(() => 0) })),
    });
  }

  async #record(camera: string, options: RecordOptions, more: Partial<TakeOptions> = {}): Promise<Recording> {
    checkKeys(options, RECORD_KEYS, 'record');
    const { tracks, frames, signal, ...recorderOptions } = options;
    const held = await this.#writers.take(camera, tracks, recorderOptions, {
      check: () => signal?.throwIfAborted(),
      endOnDiskFault: false,
      ...more,
    });
    const { recorder, release } = held;
    const stop = new AbortController();
    const abort = () => stop.abort();
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    const run = async (): Promise<RecordingStats> => {
      const ended = this.#outgoing.recordingFirst?.recording();
      try {
        await recorder.record(frames, stop.signal);
        return recorder.stats();
      } finally {
        signal?.removeEventListener('abort', abort);
        await release();
        ended?.();
        this.#recordings.delete(recording);
      }
    };
    const recording: Recording = new Recording(camera, recorder, Promise.resolve().then(run), stop);
    if (more.whileClosing === true) this.#ofCameras.add(recording);
    this.#recordings.add(recording);
    return recording;
  }

  /**
   * Connects a camera, keeps it connected, and records it, always or on demand. It is connected when its state says so.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_BUSY, E_READ_ONLY, E_CLOSED; TypeError, RangeError for options
   */
  camera(name: string, options: CameraOptions): Camera {
    this.#lifetime.check();
    checkCameraName(name);
    this.#writers.checkWritable();
    return this.#live.add(name, options);
  }

  /** The connected camera of that name. */
  control(camera: string): Camera | undefined {
    return this.#live.get(camera);
  }

  /** Those that `camera()` has connected, or tries to. */
  liveCameras(): readonly Camera[] {
    return this.#live.all();
  }

  /** Whether this process records that camera, whatever its frames come from. */
  isRecording(camera: string): boolean {
    return [...this.#recordings].some((recording) => recording.camera === camera);
  }

  /** Whether there is footage of a camera of that name. @throws FootageError E_CAMERA_NAME */
  knowsCamera(camera: string): Promise<boolean> {
    return this.#lifetime.run(async () => {
      checkCameraName(camera);
      await this.#refresh();
      return this.#catalog.has(camera);
    });
  }

  /**
   * Imports a media file as if it had been recorded at `start`. A failure leaves nothing behind.
   * @throws FootageError E_INPUT_*, E_OVERLAP, and those of `record`; the signal's reason
   */
  import(camera: string, path: string, options: ImportOptions): Promise<ImportResult> {
    return this.#lifetime.runUntil(options.signal, (signal) => this.#import.run(camera, path, { ...options, signal }));
  }

  /**
   * Pass 1: plans an answer. Its end is frozen now.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_UNKNOWN, E_TIME, E_RANGE_ORDER, E_RANGE_EMPTY, E_GAP, E_CHANGES,
   * E_QUERY for options that do not go together; RangeError, TypeError for a value that is none
   */
  session(request: SessionRequest): Promise<Session> {
    return this.#lifetime.run(() => this.#session(request));
  }

  async #session(request: SessionRequest): Promise<Session> {
    checkKeys(request, SESSION_KEYS, 'session');
    const { camera, start: _start, end: _end, duration: _duration, ...options } = request;
    checkCameraName(camera);
    await this.#refresh();
    const wanted = { camera, ...parseSpan(request), ...answerPolicy(options) };
    const kept = this.#planner.kept(wanted);
    if (kept === undefined) checkKnownCamera(this.#catalog, camera);
    const plan = await this.#outgoing.planning(async () => kept ?? this.#planner.plan(wanted));
    return new Session(plan, this.#answerDeps(camera));
  }

  /** A playlist of HLS, or a file that one names. @throws FootageError as `session`, and E_NOT_FOUND */
  hls(request: HlsRequest): Promise<Answer> {
    return this.#lifetime.run(async () => {
      await this.#checkKnown(request.camera);
      const parts = await this.#outgoing.planning(() => this.#hls.answer(request, this.#now()));
      return new Answer(parts, this.#answerDeps(request.camera));
    });
  }

  #answerDeps(camera: string): AnswerDeps {
    const { pacing, counters, leases } = this.#outgoing;
    return {
      ...{ native: this.#io.native, camera, pacing, counters, leases },
      run: (send, signal) => this.#lifetime.runUntil(signal, send),
      now: this.#now,
    };
  }

  /** Counters since the archive was opened: of all that was sent (docs/pacing.md), and of the scrub. */
  stats(): ArchiveStats {
    return { ...this.#outgoing.stats(), scrub: this.#scrub.stats() };
  }

  /** Segments under lease now: retention must not remove them. */
  leased(): Set<string> {
    return this.#catalog.leased(this.#now());
  }

  async #checkKnown(camera: string): Promise<void> {
    checkCameraName(camera);
    await this.#refresh();
    checkKnownCamera(this.#catalog, camera);
  }

  /** A catalog in memory sees what others record only by looking at the files again. */
  async #refresh(): Promise<void> {
    if (!this.readOnly) return;
    const nowMs = performance.now();
    if (this.#refreshed === undefined || nowMs - this.#refreshed.atMs >= REFRESH_MS) {
      this.#refreshed = { atMs: nowMs, done: reconcile(this.root, this.#catalog, this.#io) };
    }
    const refreshed = this.#refreshed;
    try {
      await refreshed.done;
    } catch (error) {
      if (this.#refreshed === refreshed) this.#refreshed = undefined;
      throw error;
    }
  }

  /** All cameras with what is recorded of them. */
  cameras(): Promise<CameraInfo[]> {
    return this.#lifetime.run(async () => {
      await this.#refresh();
      return listCameras(this.root, this.#catalog, this.#cache);
    });
  }

  /** Spans of footage and gaps of a camera, within `span` if one is given. */
  timeline(camera: string, span?: { readonly startUtcMs: number; readonly endUtcMs: number }): Promise<Timeline> {
    return this.#lifetime.run(async () => {
      await this.#checkKnown(camera);
      const timeline = await timelineOf(this.root, this.#catalog, this.#cache, camera, span);
      return withCauses(timeline, await readGaps(this.#io.disk, join(this.root, camera)));
    });
  }

  /** A handler for `node:http`, Express and everything that calls `(req, res, next?)`. */
  handler(options: HandlerOptions = {}): Handler {
    return createHandler(this, options);
  }

  /** Seals what crashes left open, except of cameras that are being recorded. One that cannot be locked is reported. */
  recover(): Promise<RecoveryReport[]> {
    return this.#lifetime.run(async () => {
      this.#writers.checkWritable();
      const cameras = [...this.#catalog.open(), ...this.unreadable].map(({ camera }) => camera);
      const reports: RecoveryReport[] = [];
      for (const camera of new Set(cameras)) reports.push(...(await this.#writers.recoverIfFree(camera)));
      return reports;
    });
  }

  /**
   * Checks every checksum and every table against the frames, several segments at once, reported in a stable order; then
   * the catalog's rows and what else lies in the archive. Changes nothing.
   * @throws RangeError, TypeError for options; FootageError E_CLOSED, E_IO
   */
  verify(options: VerifyOptions = {}): AsyncGenerator<VerifyReport, void, undefined> {
    checkVerifyOptions(options, 'verify');
    return this.#lifetime.iterate(() => this.#check.verify(options));
  }

  /**
   * As `verify`, and makes good what can be (docs/durability.md, "Repair"): nothing is deleted, and of a camera that is
   * being recorded nothing is changed.
   * @throws as `verify`, and FootageError E_READ_ONLY
   */
  repair(options: VerifyOptions = {}): AsyncGenerator<RepairReport, void, undefined> {
    checkVerifyOptions(options, 'repair');
    this.#writers.checkWritable();
    return this.#lifetime.iterate(() => this.#check.repair(options));
  }

  /**
   * Reads all segments again and again, slowly, and reports what it finds wrong, until `signal` aborts or the archive is
   * closed. Its place is kept in the archive, so that it goes on there after a restart. One at a time.
   * @throws RangeError, TypeError for options; FootageError E_CLOSED, E_READ_ONLY, E_IO
   */
  scrub(options: ScrubOptions = {}): Promise<void> {
    this.#writers.checkWritable();
    return this.#lifetime.runUntil(options.signal, (signal) => this.#scrub.run(options, signal));
  }

  /**
   * Stops the recordings, ends the answers and imports under way (E_CLOSED), waits for all and for every other call, and
   * releases everything. Idempotent.
   */
  close(): Promise<void> {
    const stopOwn = () => {
      const own = [...this.#recordings].filter((recording) => !this.#ofCameras.has(recording));
      return own.map((recording) => recording.stop());
    };
    const stopped = [this.#live.close(), ...stopOwn()];
    return this.#lifetime.close(async () => {
      // Also those that began in the very moment of closing.
      await Promise.allSettled([...stopped, ...stopOwn()]);
      await this.#cache.close();
      this.#catalog.close();
    });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
