/**
 * One process that works on an archive in memory: it opens the archive and recovers it, as `openArchive` does, and
 * records. What it acknowledges is noted with the number of operations that were done by then.
 */
import { join, relative } from 'node:path';
import { cameraUuid } from '../../../src/catalog/camera-id.ts';
import type { Catalog, SegmentRow } from '../../../src/catalog/catalog.ts';
import { openFolder } from '../../../src/catalog/open.ts';
import { openRow, reconcile, sealedRow } from '../../../src/catalog/reconcile.ts';
import { recoverCamera, type RecoveryReport } from '../../../src/catalog/recover-camera.ts';
import {
  Recorder,
  type RecorderOptions,
  type RecordingStats,
  type SegmentSink,
} from '../../../src/recorder/recorder.ts';
import { makeDirectory, type SegmentIo } from '../../../src/segment/disk.ts';
import { GroupFlusher } from '../../../src/segment/flusher.ts';
import { AUDIO, START_UTC_MS, VIDEO } from '../../support/segment.ts';
import type { MadeFrame } from './footage.ts';
import type { MemoryDisk } from './memory-disk.ts';

export const ROOT = '/disk/archive';

/** Flushes when it is told to. */
export class SteppedFlusher extends GroupFlusher {
  readonly #callbacks = new Set<() => void>();

  override every(_intervalMs: number, callback: () => void): () => void {
    this.#callbacks.add(callback);
    return () => this.#callbacks.delete(callback);
  }

  tick(): void {
    for (const callback of this.#callbacks) callback();
  }
}

/** What was acknowledged of one recording. */
export interface Acknowledged {
  /** Per track, in the order in which they were given. */
  readonly frames: readonly (readonly MadeFrame[])[];
  readonly stats: RecordingStats;
  /** It is being taken back: nothing of it is promised any more. */
  readonly discarded: boolean;
}

export interface RecordedCamera {
  readonly camera: string;
  readonly frames: readonly MadeFrame[];
  readonly options: RecorderOptions;
  /** Called before each frame is given to the recorder. */
  readonly between: (index: number) => Promise<void> | void;
  /** The source fails at its end, and the recording is taken back, as by an import. */
  readonly discard?: boolean;
}

class SourceFailed extends Error {}

/** Opens the archive, and seals what was left open. */
export async function openAndRecover(
  root: string,
  catalog: Catalog,
  io: SegmentIo,
  flusher: GroupFlusher,
): Promise<RecoveryReport[]> {
  const unreadable = await reconcile(root, catalog, io);
  const cameras = new Set([...catalog.open(), ...unreadable].map(({ camera }) => camera));
  const reports: RecoveryReport[] = [];
  for (const camera of cameras) {
    reports.push(...(await recoverCamera(camera, { ...io, flusher, archive: root, catalog, unreadable })));
  }
  return reports;
}

export class ArchiveProcess {
  readonly flusher: SteppedFlusher;
  readonly #disk: MemoryDisk;
  readonly #catalog: Catalog;
  readonly #recordings: { acknowledged: () => Acknowledged }[] = [];

  constructor(disk: MemoryDisk, catalog: Catalog) {
    this.#disk = disk;
    this.#catalog = catalog;
    this.flusher = new SteppedFlusher(disk.io.native);
  }

  /** What is acknowledged now. */
  acknowledged(): Acknowledged[] {
    return this.#recordings.map((recording) => recording.acknowledged());
  }

  async open(): Promise<RecoveryReport[]> {
    this.#disk.actor = 'open';
    await openFolder(this.#disk, ROOT, true);
    this.#disk.actor = 'recover';
    return openAndRecover(ROOT, this.#catalog, this.#disk.io, this.flusher);
  }

  /** Takes the camera, which nobody else writes. */
  async take(camera: string, options: RecorderOptions): Promise<Recorder> {
    const directory = join(ROOT, camera);
    this.#disk.actor = 'camera';
    await makeDirectory(this.#disk, directory);
    const uuid = await cameraUuid(this.#disk, directory);
    this.#disk.actor = 'record';
    const path = (file: string) => relative(ROOT, file);
    const sink: SegmentSink = {
      opened: (opened) => this.#catalog.put(openRow(camera, path(opened.path), opened.head, opened.startUtcMs)),
      sealed: (sealed) => this.#catalog.put(sealedRow(camera, path(sealed.path), sealed.trailer)),
      removed: (id) => this.#catalog.remove(id),
      // This disk never fails.
      interrupted: (cause) => {
        throw cause;
      },
      left: (cause) => {
        throw cause;
      },
      resumed: () => undefined,
    };
    const deps = { ...this.#disk.io, flusher: this.flusher, directory, camera: uuid, sink };
    const surroundings = { now: () => START_UTC_MS, checkLock: async () => undefined };
    return new Recorder([VIDEO, AUDIO], { ...deps, ...surroundings }, options);
  }

  /** Records the frames; ends when they end. */
  async record({ camera, frames, options, between, discard = false }: RecordedCamera): Promise<void> {
    const recorder = await this.take(camera, { indexIntervalMs: 0, startUtcMs: START_UTC_MS, ...options });
    const byTrack = [0, 1].map((track) => frames.filter((frame) => frame.track === track));
    let discarded = false;
    this.#recordings.push({ acknowledged: () => ({ frames: byTrack, stats: recorder.stats(), discarded }) });
    async function* source() {
      for (const [i, frame] of frames.entries()) {
        await between(i);
        yield frame;
      }
      if (discard) throw new SourceFailed('the source failed');
    }
    try {
      await recorder.record(source(), new AbortController().signal);
    } catch (error) {
      if (!(error instanceof SourceFailed)) throw error;
      discarded = true;
      await recorder.discard();
    }
  }
}

/** Tells `note` of every row as soon as it has changed. */
export function watched(catalog: Catalog, note: (rows: SegmentRow[]) => void): Catalog {
  const [put, remove] = [catalog.put.bind(catalog), catalog.remove.bind(catalog)];
  catalog.put = (row) => {
    put(row);
    note(catalog.all());
  };
  catalog.remove = (id) => {
    remove(id);
    note(catalog.all());
  };
  return catalog;
}
