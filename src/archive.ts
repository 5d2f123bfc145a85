/**
 * The archive: the composition root that ties recorder, catalog, planner and sender together, and the object that users
 * of the library hold. It knows its recordings; closing it stops them and waits.
 */
import { access, constants, mkdir, stat } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Catalog } from './catalog/catalog.ts';
import { openRow, reconcile, sealedRow, type Unreadable } from './catalog/reconcile.ts';
import { isDamage, openCatalog, setCatalogAside } from './catalog/sqlite-catalog.ts';
import { cameraUuid } from './catalog/camera-id.ts';
import { type CameraInfo, listCameras, type Timeline, timelineOf } from './catalog/timeline.ts';
import { lock, tryLock } from './catalog/writer-lock.ts';
import { FootageError, ioError } from './errors.ts';
import { createHandler, type Handler, type HandlerOptions } from './http/handler.ts';
import { openMediaFile } from './ingest/media-file.ts';
import type { Frame, Track } from './media.ts';
import { native as defaultNative } from './native.ts';
import type { Native } from './native-types.ts';
import { Recording } from './recorder/recording.ts';
import { Recorder, type RecorderOptions, type RecordingStats, type SegmentSink } from './recorder/recorder.ts';
import { SegmentCache } from './segment/cache.ts';
import { GroupFlusher } from './segment/flusher.ts';
import { checkCameraName } from './segment/layout.ts';
import { type Recovery, recoverSegment } from './segment/recover.ts';
import { type SegmentReport, verifySegment } from './segment/verify.ts';
import type { GapPolicy } from './session/plan.ts';
import { Planner } from './session/planner.ts';
import type { RateOptions } from './session/rate.ts';
import { Session } from './session/session.ts';
import { parseSpan, parseTime, type Time } from './time.ts';

export interface ArchiveOptions {
  /** Make the folder if it is missing. Default true. */
  readonly create?: boolean;
  /** Change nothing on disk, not even the catalog. Default: only where the folder cannot be written. */
  readonly readOnly?: boolean;
  /** Seal what a crash left open, of cameras that nobody is recording. Default true, unless read-only. */
  readonly recover?: boolean;
  /** Limit of each session. Default none. */
  readonly sessionRate?: RateOptions;
  /** Addon or twin. Default: what could be loaded. */
  readonly native?: Native;
  /** Wall clock, Unix ms. */
  readonly now?: () => number;
}

export interface RecordOptions extends RecorderOptions {
  readonly tracks: readonly Track[];
  readonly frames: AsyncIterable<Frame>;
  /** Ends the recording: what was appended is sealed. */
  readonly signal?: AbortSignal;
}

export interface SessionRequest {
  readonly camera: string;
  readonly start: Time;
  readonly end?: Time;
  /** Seconds, instead of `end`. */
  readonly duration?: number | string;
  /** What to do where footage is missing. Default `collapse`. */
  readonly gaps?: GapPolicy;
}

export interface ImportOptions {
  /** Wall time of the first presented sample. */
  readonly start: Time;
  /** `keep`: import even over footage that exists. Default `refuse`. */
  readonly overlap?: 'refuse' | 'keep';
  readonly signal?: AbortSignal;
  readonly recorder?: RecorderOptions;
  /** Called as frames are read: media read so far and in all, ms. */
  readonly onProgress?: (doneMs: number, totalMs: number) => void;
}

export interface ImportResult {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  /** Frames per track. */
  readonly frames: readonly number[];
  /** Tracks of the file that are neither video nor audio, one line each. */
  readonly skipped: readonly string[];
}

export interface RecoveryReport {
  readonly camera: string;
  /** Path of the segment below the archive. */
  readonly path: string;
  readonly recovery: Recovery;
}

export interface VerifyReport extends SegmentReport {
  readonly camera: string;
  readonly path: string;
}

/**
 * Opens an archive: reads its catalog (or makes it anew from the files), and recovers what a crash left open, except of
 * cameras that another process is recording.
 * @throws FootageError E_ARCHIVE_MISSING, E_READ_ONLY, E_NO_SQLITE, E_IO
 */
export async function openArchive(path: string, options: ArchiveOptions = {}): Promise<Archive> {
  const root = resolve(path);
  await checkFolder(root, options.create ?? true);
  const readOnly = options.readOnly ?? !(await isWritable(root));
  const database = readOnly ? undefined : join(root, 'catalog.db');
  const { catalog, unreadable } = await reconciled(root, database, options.native ?? defaultNative);
  try {
    const archive = new Archive(root, catalog, readOnly, unreadable, options);
    if (!readOnly && options.recover !== false) archive.recovered.push(...(await archive.recover()));
    return archive;
  } catch (error) {
    catalog.close();
    throw error;
  }
}

/** The catalog, held against the files; a database that turns out to be damaged is made anew. */
async function reconciled(root: string, database: string | undefined, native: Native) {
  for (let first = true; ; first = false) {
    const catalog = await openCatalog(database);
    try {
      return { catalog, unreadable: await reconcile(root, catalog, native) };
    } catch (error) {
      catalog.close();
      if (database === undefined || !first || !isDamage(error)) throw error;
      await setCatalogAside(database);
    }
  }
}

async function checkFolder(root: string, create: boolean): Promise<void> {
  if (create) {
    await mkdir(root, { recursive: true }).catch((error: unknown) => {
      throw ioError(error, `making the archive ${root}`);
    });
  }
  const found = await stat(root).catch(() => undefined);
  if (found?.isDirectory() === true) return;
  throw new FootageError(
    'E_ARCHIVE_MISSING',
    `There is no archive at ${root}: name the folder of one, or record into it first.`,
  );
}

async function isWritable(root: string): Promise<boolean> {
  return access(root, constants.W_OK).then(
    () => true,
    () => false,
  );
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
  readonly #native: Native;
  readonly #flusher: GroupFlusher;
  readonly #cache: SegmentCache;
  readonly #planner: Planner;
  readonly #now: () => number;
  readonly #sessionRate: RateOptions;
  readonly #recordings = new Set<Recording>();
  readonly #sends = new Set<Promise<void>>();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  /** @internal Use `openArchive`. */
  constructor(root: string, catalog: Catalog, readOnly: boolean, unreadable: Unreadable[], options: ArchiveOptions) {
    this.root = root;
    this.readOnly = readOnly;
    this.unreadable = unreadable;
    this.#catalog = catalog;
    this.#native = options.native ?? defaultNative;
    this.#flusher = new GroupFlusher(this.#native);
    this.#cache = new SegmentCache(this.#native);
    this.#planner = new Planner({ archive: root, catalog, cache: this.#cache });
    this.#now = options.now ?? Date.now;
    this.#sessionRate = options.sessionRate ?? { bytesPerSecond: 0 };
  }

  /**
   * Records frames of a camera until they end, `signal` aborts, or `stop()` is called. Resolves when the camera is ours.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_BUSY, E_FORMAT_VERSION, E_READ_ONLY, E_TRACK
   */
  async record(camera: string, options: RecordOptions): Promise<Recording> {
    const { tracks, frames, signal, ...recorderOptions } = options;
    const { recorder, release } = await this.#recorder(camera, tracks, recorderOptions);
    const stop = new AbortController();
    const abort = () => stop.abort();
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    const run = async (): Promise<RecordingStats> => {
      try {
        await recorder.record(frames, stop.signal);
        return recorder.stats();
      } finally {
        signal?.removeEventListener('abort', abort);
        release();
        this.#recordings.delete(recording);
      }
    };
    const recording: Recording = new Recording(camera, recorder, Promise.resolve().then(run), stop);
    this.#recordings.add(recording);
    return recording;
  }

  /** A recorder that holds the camera's writer lock, after recovering what was left of it. */
  async #recorder(camera: string, tracks: readonly Track[], options: RecorderOptions) {
    this.#check();
    checkCameraName(camera);
    this.#checkWritable();
    const directory = join(this.root, camera);
    await mkdir(directory, { recursive: true }).catch((error: unknown) => {
      throw ioError(error, `making the folder of camera "${camera}"`);
    });
    const held = await lock(directory, camera);
    try {
      refuseNewer(await this.#recoverCamera(camera));
      const uuid = await cameraUuid(directory, this.root);
      const sink = this.#sink(camera);
      const deps = { directory, camera: uuid, native: this.#native, flusher: this.#flusher, sink, now: this.#now };
      return { recorder: new Recorder(tracks, deps, options), release: () => held.release() };
    } catch (error) {
      held.release();
      throw error;
    }
  }

  #sink(camera: string): SegmentSink {
    return {
      opened: ({ path, head, startUtcMs }) =>
        guarded(() => this.#catalog.put(openRow(camera, relative(this.root, path), head, startUtcMs))),
      sealed: ({ path, trailer }) =>
        guarded(() => this.#catalog.put(sealedRow(camera, relative(this.root, path), trailer))),
      removed: (id) => guarded(() => this.#catalog.remove(id)),
    };
  }

  /**
   * Imports a media file as if it had been recorded at `start`. A failure leaves nothing behind.
   * @throws FootageError E_INPUT_*, E_OVERLAP, and those of `record`
   */
  async import(camera: string, path: string, options: ImportOptions): Promise<ImportResult> {
    this.#check();
    checkCameraName(camera);
    const startUtcMs = parseTime(options.start, 'start');
    const file = await openMediaFile(path);
    try {
      const endUtcMs = startUtcMs + file.durationMs;
      this.#checkWritable();
      if (options.overlap !== 'keep') await this.#refuseOverlap(camera, startUtcMs, endUtcMs);
      const recorderOptions = { ...options.recorder, startUtcMs };
      const { recorder, release } = await this.#recorder(camera, file.tracks, recorderOptions);
      const stop = new AbortController().signal;
      try {
        await recorder.record(withProgress(file.frames(options.signal), file.tracks, file.durationMs, options), stop);
      } catch (error) {
        await recorder.discard();
        throw error;
      } finally {
        release();
      }
      return { startUtcMs, endUtcMs, frames: recorder.stats().appended, skipped: file.skipped };
    } finally {
      await file.close();
    }
  }

  async #refuseOverlap(camera: string, startUtcMs: number, endUtcMs: number): Promise<void> {
    const { spans } = await this.timeline(camera, { startUtcMs, endUtcMs }).catch((error: unknown) => {
      if (error instanceof FootageError && error.code === 'E_CAMERA_UNKNOWN') return { spans: [] };
      throw error;
    });
    const [span] = spans;
    if (span === undefined) return;
    const from = new Date(span.startUtcMs).toISOString();
    const to = new Date(span.endUtcMs).toISOString();
    throw new FootageError(
      'E_OVERLAP',
      `Camera "${camera}" has footage from ${from} to ${to} already: choose another start, or say --overlap keep (overlap: 'keep').`,
    );
  }

  /**
   * Pass 1: plans an answer. Its end is frozen now.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_UNKNOWN, E_TIME, E_RANGE_ORDER, E_RANGE_EMPTY, E_GAP, E_CHANGES
   */
  async session(request: SessionRequest): Promise<Session> {
    this.#check();
    const { camera, gaps = 'collapse' } = request;
    await this.#checkKnown(camera);
    const span = parseSpan(request);
    const plan = await this.#planner.plan({ camera, gaps, ...span });
    return new Session(plan, {
      native: this.#native,
      rate: this.#sessionRate,
      // A full disk takes no lease, and must not keep footage from being read either.
      closing: this.#closing.signal,
      track: (sending) => this.#trackSend(sending),
      lease: (id, segments, untilUtcMs) => guarded(() => this.#catalog.lease(id, segments, untilUtcMs)),
      now: this.#now,
    });
  }

  #trackSend(sending: Promise<void>): void {
    const settled = sending.catch(() => undefined).finally(() => this.#sends.delete(settled));
    this.#sends.add(settled);
  }

  /** Segments under lease now: retention must not remove them. */
  leased(): Set<string> {
    return this.#catalog.leased(this.#now());
  }

  async #checkKnown(camera: string): Promise<void> {
    checkCameraName(camera);
    await this.#refresh();
    if (this.#catalog.cameras().includes(camera)) return;
    throw new FootageError(
      'E_CAMERA_UNKNOWN',
      `There is no camera "${camera}" in this archive: list the cameras for their names.`,
    );
  }

  /** A catalog in memory sees what others record only by looking at the files again. */
  async #refresh(): Promise<void> {
    if (this.readOnly) await reconcile(this.root, this.#catalog, this.#native);
  }

  /** All cameras with what is recorded of them. */
  async cameras(): Promise<CameraInfo[]> {
    this.#check();
    await this.#refresh();
    return listCameras(this.root, this.#catalog, this.#cache);
  }

  /** Spans of footage and gaps of a camera, within `span` if one is given. */
  async timeline(camera: string, span?: { readonly startUtcMs: number; readonly endUtcMs: number }): Promise<Timeline> {
    this.#check();
    await this.#checkKnown(camera);
    return timelineOf(this.root, this.#catalog, this.#cache, camera, span);
  }

  /** A handler for `node:http`, Express and everything that calls `(req, res, next?)`. */
  handler(options: HandlerOptions = {}): Handler {
    return createHandler(this, options);
  }

  /** Seals what crashes left open, except of cameras that are being recorded. */
  async recover(): Promise<RecoveryReport[]> {
    this.#check();
    this.#checkWritable();
    const reports: RecoveryReport[] = [];
    const cameras = [...this.#catalog.open().map((row) => row.camera), ...this.unreadable.map((file) => file.camera)];
    for (const camera of new Set(cameras)) {
      const held = tryLock(join(this.root, camera));
      if (held === undefined) continue;
      try {
        reports.push(...(await this.#recoverCamera(camera)));
      } finally {
        held.release();
      }
    }
    return reports;
  }

  /** The caller holds the camera's writer lock. A segment that cannot be recovered keeps nothing else from being. */
  async #recoverCamera(camera: string): Promise<RecoveryReport[]> {
    const reports: RecoveryReport[] = [];
    const rows = this.#catalog.open().filter((row) => row.camera === camera);
    for (const { id, path } of rows) {
      const recovery = await this.#recoverFile(path);
      if (recovery.outcome === 'sealed') this.#catalog.put(sealedRow(camera, path, recovery.trailer));
      else if (recovery.outcome !== 'failed') this.#catalog.remove(id);
      reports.push({ camera, path, recovery });
    }
    // Files that do not read as segments: begun and never written, or damaged at their very beginning.
    for (const file of this.unreadable.filter((one) => one.camera === camera)) {
      const path = relative(this.root, file.path);
      const recovery = await this.#recoverFile(path);
      if (recovery.outcome === 'sealed') this.#catalog.put(sealedRow(camera, path, recovery.trailer));
      if (recovery.outcome !== 'failed') this.unreadable.splice(this.unreadable.indexOf(file), 1);
      reports.push({ camera, path, recovery });
    }
    return reports;
  }

  async #recoverFile(path: string): Promise<Recovery> {
    const file = join(this.root, path);
    if ((await stat(file).catch(() => undefined)) === undefined) return { outcome: 'empty' };
    try {
      return await recoverSegment(file, { native: this.#native, flusher: this.#flusher });
    } catch (error) {
      return { outcome: 'failed', error: ioError(error, `recovering ${path}`) };
    }
  }

  /** Checks every checksum and every table against the frames, segment by segment. Changes nothing. */
  async *verify(): AsyncGenerator<VerifyReport, void, undefined> {
    this.#check();
    for (const { camera, path, reason } of await reconcile(this.root, this.#catalog, this.#native)) {
      const problems = [reason];
      yield { camera, path: relative(this.root, path), state: 'unreadable', frames: 0, problems, unexplainedBytes: 0 };
    }
    for (const row of this.#catalog.all()) {
      const report = await verifySegment(join(this.root, row.path), this.#native);
      yield { camera: row.camera, path: row.path, ...report };
    }
  }

  /** Number of segments that `verify` will report on, about. */
  get segmentCount(): number {
    return this.#catalog.all().length;
  }

  #check(): void {
    if (this.#closed !== undefined) throw new FootageError('E_CLOSED', 'The archive is closed: open it again.');
  }

  #checkWritable(): void {
    if (!this.readOnly) return;
    throw new FootageError(
      'E_READ_ONLY',
      `The archive ${this.root} cannot be written: give this user write permission, or remount it.`,
    );
  }

  /** Stops the recordings and the answers under way, waits for both, and releases everything. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(new FootageError('E_CLOSED', 'The archive was closed while it was sending.'));
    await Promise.allSettled([...this.#sends, ...[...this.#recordings].map((recording) => recording.stop())]);
    await this.#cache.close();
    this.#catalog.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** The catalog is a cache: when it fails, recording goes on, and the next start reads the files. */
function guarded(change: () => void): void {
  try {
    change();
  } catch (error) {
    process.emitWarning(`The catalog could not be updated: ${String(error)}`, { code: 'FOOTAGE_CATALOG' });
  }
}

/** A camera that a newer version has recorded is left to it: what of its files may be changed is not known here. */
function refuseNewer(reports: readonly RecoveryReport[]): void {
  for (const { recovery } of reports) {
    if (recovery.outcome === 'failed' && recovery.error.code === 'E_FORMAT_VERSION') throw recovery.error;
  }
}

async function* withProgress(
  frames: AsyncIterable<Frame>,
  tracks: readonly Track[],
  totalMs: number,
  { onProgress }: ImportOptions,
): AsyncGenerator<Frame, void, undefined> {
  for await (const frame of frames) {
    onProgress?.((frame.dts * 1000) / (tracks[frame.track]?.timescale ?? 1), totalMs);
    yield frame;
  }
}
