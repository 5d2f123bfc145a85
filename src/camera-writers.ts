/**
 * Those of an archive's cameras that this process writes: takes the writer lock of a camera, recovers what its last
 * recorder left, and makes its recorder. Part of the composition root.
 *
 * Invariant: only who holds a camera's lock changes its files.
 */
import { join, relative } from 'node:path';
import { cameraUuid } from './catalog/camera-id.ts';
import { appendGap } from './catalog/gap-log.ts';
import { openRow, sealedRow } from './catalog/reconcile.ts';
import { guarded, recoverCamera, type RecoverDeps, type RecoveryReport } from './catalog/recover-camera.ts';
import { lock, tryLock, type WriterLock } from './catalog/writer-lock.ts';
import { FootageError, ioError } from './errors.ts';
import type { Track } from './media.ts';
import type { RecordingGap } from './recorder/interruption.ts';
import { checkRecorderOptions } from './recorder/options.ts';
import { Recorder, type RecorderOptions, type SegmentSink } from './recorder/recorder.ts';
import { checkTracks } from './recorder/tracks.ts';
import { type Disk, makeDirectory } from './segment/disk.ts';
import { checkCameraName } from './segment/layout.ts';

export interface CameraWritersDeps extends Omit<RecoverDeps, 'archive'> {
  /** Absolute path of the archive's folder. */
  readonly root: string;
  readonly readOnly: boolean;
  /** How long to wait for somebody else who writes a camera, ms. */
  readonly lockWaitMs: number;
  /** Wall clock, Unix ms. */
  readonly now: () => number;
  /** @throws FootageError E_CLOSED once the archive is being closed */
  readonly checkOpen: () => void;
}

export interface TakeOptions {
  /** Called whenever the wait for the lock goes on, and at its end: throws to give up. */
  readonly check: () => void;
  /** Whether a failure of the disk ends the recording. */
  readonly endOnDiskFault: boolean;
  /** Also while the archive is being closed: whoever closes knows of it, and waits for its end. */
  readonly whileClosing?: true;
  /** What was missed before it. */
  readonly gaps?: readonly RecordingGap[];
  /** Told when the disk has failed under it, and when it goes on. */
  readonly onFault?: FaultListener;
}

export interface FaultListener {
  readonly interrupted: (cause: FootageError) => void;
  readonly resumed: (gap: RecordingGap) => void;
}

interface RecorderChoice {
  readonly tracks: readonly Track[];
  readonly options: RecorderOptions;
  readonly endOnDiskFault: boolean;
  readonly onFault: FaultListener | undefined;
}

/** A recorder that holds its camera's lock until `release`. */
export interface TakenCamera {
  readonly recorder: Recorder;
  /** Resolves when nothing is being written any more, and the lock is free. Idempotent. */
  readonly release: () => Promise<void>;
}

function warn(what: string): void {
  process.emitWarning(what, { code: 'FOOTAGE_RECORDING' });
}

/** Notes the gaps of a camera one after the other: the recording does not wait, whoever releases the camera does. */
class GapNotes {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #camera: string;
  #last: Promise<void> = Promise.resolve();

  constructor(disk: Disk, directory: string, camera: string) {
    this.#disk = disk;
    this.#directory = directory;
    this.#camera = camera;
  }

  add(gap: RecordingGap): void {
    this.#last = this.#last
      .then(() => appendGap(this.#disk, this.#directory, gap))
      .catch((error: unknown) => warn(`A gap of camera "${this.#camera}" could not be noted: ${String(error)}`));
  }

  written(): Promise<void> {
    return this.#last;
  }
}

export class CameraWriters {
  readonly #deps: CameraWritersDeps;

  constructor(deps: CameraWritersDeps) {
    this.#deps = deps;
  }

  /** @throws FootageError E_READ_ONLY */
  checkWritable(): void {
    const { readOnly, root } = this.#deps;
    if (!readOnly) return;
    throw new FootageError(
      'E_READ_ONLY',
      `The archive ${root} cannot be written: give this user write permission, or remount it.`,
    );
  }

  /**
   * A recorder that holds the camera's writer lock, after recovering what was left of it.
   * @throws FootageError E_CAMERA_NAME, E_CAMERA_BUSY, E_FORMAT_VERSION, E_READ_ONLY, E_TRACK; TypeError, RangeError for
   * options; what `check` throws
   */
  async take(
    camera: string,
    tracks: readonly Track[],
    options: RecorderOptions,
    { check, endOnDiskFault, whileClosing, gaps = [], onFault }: TakeOptions,
  ): Promise<TakenCamera> {
    checkCameraName(camera);
    const recorderOptions = checkRecorderOptions(options);
    checkTracks(tracks);
    this.checkWritable();
    const { disk, root, lockWaitMs } = this.#deps;
    const checkOpen = whileClosing === true ? () => undefined : this.#deps.checkOpen;
    const directory = join(root, camera);
    await makeDirectory(disk, directory);
    const goOn = () => {
      checkOpen();
      check();
    };
    const held = await lock(directory, camera, { waitMs: lockWaitMs, check: goOn });
    const notes = new GapNotes(disk, directory, camera);
    const release = async () => {
      await notes.written();
      held.release();
    };
    try {
      const choice = { tracks, options: recorderOptions, endOnDiskFault, onFault };
      const recorder = await this.#recorder(camera, { held, notes }, choice);
      // It may have been closed meanwhile; from here on a recorder is known to whoever closes.
      checkOpen();
      // Not before: a recording that cannot be begun would note them again at each attempt.
      for (const gap of gaps) notes.add(gap);
      return { recorder, release };
    } catch (error) {
      await release();
      throw error;
    }
  }

  async #recorder(
    camera: string,
    { held, notes }: { readonly held: WriterLock; readonly notes: GapNotes },
    { tracks, options, endOnDiskFault, onFault }: RecorderChoice,
  ): Promise<Recorder> {
    const { disk, native, flusher, root, now } = this.#deps;
    const directory = join(root, camera);
    refuseNewer(await this.#recover(camera));
    const uuid = await cameraUuid(disk, directory);
    return new Recorder(
      tracks,
      {
        disk,
        native,
        flusher,
        directory,
        camera: uuid,
        sink: this.#sink(camera, notes, onFault),
        now,
        endOnDiskFault,
        checkLock: () => checkHeld(camera, held),
      },
      options,
    );
  }

  #sink(camera: string, notes: GapNotes, onFault: FaultListener | undefined): SegmentSink {
    const { root, catalog } = this.#deps;
    return {
      opened: ({ path, head, startUtcMs }) =>
        guarded(() => catalog.put(openRow(camera, relative(root, path), head, startUtcMs))),
      sealed: ({ path, trailer }) => guarded(() => catalog.put(sealedRow(camera, relative(root, path), trailer))),
      removed: (id) => guarded(() => catalog.remove(id)),
      interrupted: (cause) => {
        warn(`Camera "${camera}" is not being recorded: ${cause.message}`);
        onFault?.interrupted(cause);
      },
      left: (cause) => warn(`A segment of camera "${camera}" could not be sealed yet: ${cause.message}`),
      resumed: (gap) => {
        notes.add(gap);
        onFault?.resumed(gap);
      },
    };
  }

  #recover(camera: string): Promise<RecoveryReport[]> {
    return recoverCamera(camera, { ...this.#deps, archive: this.#deps.root });
  }

  /** Notes gaps of a camera that nobody is writing; who is writing it has noted them. Never throws. */
  async noteGaps(camera: string, gaps: readonly RecordingGap[]): Promise<void> {
    const { disk, root } = this.#deps;
    const directory = join(root, camera);
    try {
      await makeDirectory(disk, directory);
      await this.whileFree(camera, async () => {
        for (const gap of gaps) await appendGap(disk, directory, gap);
      });
    } catch (error) {
      warn(`Gaps of camera "${camera}" could not be noted: ${String(error)}`);
    }
  }

  /** Runs `work` with the camera's writer lock; undefined if somebody is writing the camera. @throws FootageError */
  async whileFree<T>(camera: string, work: (repair: RecoverDeps) => Promise<T>): Promise<T | undefined> {
    const held = tryLock(join(this.#deps.root, camera));
    if (held === undefined) return undefined;
    try {
      return await work({ ...this.#deps, archive: this.#deps.root });
    } finally {
      held.release();
    }
  }

  /** Seals what a crash left open of a camera, unless somebody is writing it. One that cannot be locked is reported. */
  async recoverIfFree(camera: string): Promise<RecoveryReport[]> {
    let held: WriterLock | undefined;
    try {
      held = tryLock(join(this.#deps.root, camera));
    } catch (error) {
      const recovery = { outcome: 'failed', error: ioError(error, `recovering camera "${camera}"`) } as const;
      return [{ camera, path: join(camera, '.writer'), recovery }];
    }
    if (held === undefined) return [];
    try {
      return await this.#recover(camera);
    } finally {
      held.release();
    }
  }
}

async function checkHeld(camera: string, held: WriterLock): Promise<void> {
  if (await held.holds()) return;
  throw new FootageError(
    'E_CAMERA_REMOVED',
    `The folder of camera "${camera}" was removed or renamed while it was being recorded: record it again, and leave the archive's folders alone.`,
  );
}

/** A camera that a newer version has recorded is left to it: what of its files may be changed is not known here. */
function refuseNewer(reports: readonly RecoveryReport[]): void {
  for (const { recovery } of reports) {
    if (recovery.outcome === 'failed' && recovery.error.code === 'E_FORMAT_VERSION') throw recovery.error;
  }
}
