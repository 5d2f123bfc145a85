/** Imports a media file into an archive, as if it had been recorded at a given time. Part of the composition root. */
import type { CameraWriters } from './camera-writers.ts';
import type { Catalog } from './catalog/catalog.ts';
import { JOIN_TOLERANCE_MS, timelineOf } from './catalog/timeline.ts';
import { FootageError } from './errors.ts';
import { openAnyMediaFile } from './ingest/converted-file.ts';
import type { MediaFile } from './ingest/media-file.ts';
import { withProgress } from './ingest/progress.ts';
import { checkKeys, type KeysOf } from './option-keys.ts';
import type { RecorderOptions } from './recorder/recorder.ts';
import type { SegmentCache } from './segment/cache.ts';
import { checkCameraName } from './segment/layout.ts';
import { parseTime, type Time } from './time.ts';

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

const IMPORT_KEYS: KeysOf<ImportOptions> = {
  start: true,
  overlap: true,
  signal: true,
  recorder: true,
  onProgress: true,
};

type StoppableImport = ImportOptions & { readonly signal: AbortSignal };

/** The end of an import is that of its file, or a failure. */
const NEVER = new AbortController().signal;

export interface ArchiveImportDeps {
  /** Absolute path of the archive's folder. */
  readonly root: string;
  readonly catalog: Catalog;
  readonly cache: SegmentCache;
  readonly writers: CameraWriters;
}

export class ArchiveImport {
  readonly #deps: ArchiveImportDeps;

  constructor(deps: ArchiveImportDeps) {
    this.#deps = deps;
  }

  /** @throws as `Archive.import` */
  async run(camera: string, path: string, options: StoppableImport): Promise<ImportResult> {
    checkKeys(options, IMPORT_KEYS, 'import');
    checkCameraName(camera);
    const startUtcMs = parseTime(options.start, 'start');
    const file = await openAnyMediaFile(path, this.#deps.root, options.signal);
    try {
      return await this.#importFile(camera, file, startUtcMs, options);
    } finally {
      await file.close();
    }
  }

  async #importFile(
    camera: string,
    file: MediaFile,
    startUtcMs: number,
    options: StoppableImport,
  ): Promise<ImportResult> {
    const { tracks, durationMs, skipped } = file;
    const endUtcMs = startUtcMs + durationMs;
    const refuseOverlap = async () => {
      if (options.overlap !== 'keep') await this.#refuseOverlap(camera, startUtcMs, endUtcMs);
    };
    this.#deps.writers.checkWritable();
    // Here, so that nothing is made or waited for in vain; and again once nobody else can write.
    await refuseOverlap();
    const recorderOptions = { ...options.recorder, startUtcMs };
    const held = await this.#deps.writers.take(camera, tracks, recorderOptions, {
      check: () => options.signal.throwIfAborted(),
      endOnDiskFault: true,
    });
    const { recorder, release } = held;
    try {
      await refuseOverlap();
      await recorder.record(withProgress(file.frames(options.signal), file, options.onProgress), NEVER);
    } catch (error) {
      await recorder.discard();
      throw error;
    } finally {
      await release();
    }
    return { startUtcMs, endUtcMs, frames: recorder.stats().appended, skipped };
  }

  async #refuseOverlap(camera: string, startUtcMs: number, endUtcMs: number): Promise<void> {
    const asked = { startUtcMs, endUtcMs };
    const { spans } = await timelineOf(this.#deps.root, this.#deps.catalog, this.#deps.cache, camera, asked);
    // Files that follow each other may share a fraction of a millisecond: times are kept in microseconds.
    const span = spans.find((one) => one.endUtcMs - one.startUtcMs > JOIN_TOLERANCE_MS);
    if (span === undefined) return;
    const from = new Date(span.startUtcMs).toISOString();
    const to = new Date(span.endUtcMs).toISOString();
    throw new FootageError(
      'E_OVERLAP',
      `Camera "${camera}" has footage from ${from} to ${to} already: choose another start, or allow it (on the command line --overlap keep).`,
    );
  }
}
