/**
 * Verifies and repairs the files of an archive: segments, several at once, in a stable order; then the catalog's rows,
 * the cameras' identities, and what else lies there. Part of the composition root.
 *
 * Invariant: `verify` changes nothing; `repair` changes files of a camera only with its writer lock.
 */
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { checkKeys, type KeysOf } from './option-keys.ts';
import { otherFiles } from './archive-files.ts';
import type { CameraWriters } from './camera-writers.ts';
import { knownCameraUuid, restoreCameraUuid } from './catalog/camera-id.ts';
import type { Catalog, SegmentRow } from './catalog/catalog.ts';
import { checkCatalog } from './catalog/check.ts';
import { inOrder } from './catalog/in-order.ts';
import { setCatalogAside } from './catalog/sqlite-catalog.ts';
import { sealedRow, type SegmentFile, segmentFiles } from './catalog/reconcile.ts';
import type { RecoverDeps } from './catalog/recover-camera.ts';
import { type SegmentIo, syncPath, useIfThere } from './segment/disk.ts';
import type { ExamineOptions, Problem, SegmentProblemCode } from './segment/examine.ts';
import { readFileHead, readTrailer } from './segment/reader.ts';
import { checkCameraName, segmentIdOf } from './segment/layout.ts';
import { type Repair, repairSegment } from './segment/repair.ts';
import { type SegmentReport, verifySegment } from './segment/verify.ts';

/** What can be wrong with an archive. */
export type ProblemCode = SegmentProblemCode | 'camera-damaged' | 'catalog-damaged' | 'file-missing' | 'row-differs';

export interface VerifyReport extends Omit<SegmentReport, 'state' | 'problems'> {
  /** Empty for what belongs to none. */
  readonly camera: string;
  /** Below the archive. */
  readonly path: string;
  /** `other`: no segment. */
  readonly state: SegmentReport['state'] | 'other';
  /** Empty = all is well. */
  readonly problems: readonly Problem<ProblemCode>[];
  /** What is worth knowing and harms nothing, one sentence each. */
  readonly notes: readonly string[];
}

export interface VerifyOptions {
  /** Only this camera. */
  readonly camera?: string;
  /** Segments that are read at once, 1 to 64. Default: one for each core, 4 at most. */
  readonly jobs?: number;
  /** Called as segments are done: bytes read so far, and in all. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** What was done about a report. */
export type RepairAction =
  | (Omit<Extract<Repair, { outcome: 'repaired' }>, 'trailer' | 'problems'> & { readonly repairGeneration: number })
  | { readonly outcome: 'set-aside'; readonly path: string }
  /** Nothing was recorded in it: the file is gone. */
  | { readonly outcome: 'removed' }
  /** The catalog, a row of it or a camera's identity was written anew. */
  | { readonly outcome: 'rewritten' }
  /** Somebody is recording the camera. */
  | { readonly outcome: 'skipped'; readonly reason: string }
  | { readonly outcome: 'failed'; readonly error: { readonly code: string; readonly message: string } };

export interface RepairReport extends VerifyReport {
  /** Null: there was nothing to do. */
  readonly repair: RepairAction | null;
  /** What is still wrong. */
  readonly remaining: readonly Problem<ProblemCode>[];
}

export interface ArchiveCheckDeps {
  /** Absolute path of the archive's folder. */
  readonly root: string;
  readonly io: SegmentIo;
  readonly catalog: Catalog;
  readonly writers: CameraWriters;
}

const VERIFY_KEYS: KeysOf<VerifyOptions> = { camera: true, jobs: true, onProgress: true };
/** More would only read more places of a disk at once. */
const DEFAULT_JOBS = Math.min(4, availableParallelism());
const MAX_JOBS = 64;
/** A file that is no segment, or none any more. */
const NO_SEGMENT = { state: 'other', frames: 0, bytes: 0, unexplainedBytes: 0, notes: [], problems: [] } as const;

const CATALOG_IN_USE = {
  repair: {
    outcome: 'failed',
    error: { code: 'E_DAMAGED', message: 'the catalog is in use: close the archive and run "footage verify --repair"' },
  },
} as const;

/** Sets a damaged catalog of an archive that nobody has open aside, so that it is made anew; reports it. */
export async function mendCatalog(root: string): Promise<RepairReport | undefined> {
  const path = join(root, 'catalog.db');
  const checked = await checkCatalog(path);
  if (checked.state !== 'damaged') return undefined;
  const aside = relative(root, await setCatalogAside(path));
  return { ...catalogDamaged(checked.reason), repair: { outcome: 'set-aside', path: aside }, remaining: [] };
}

/** @throws RangeError, TypeError, FootageError E_CAMERA_NAME */
export function checkVerifyOptions(options: VerifyOptions, where: string): void {
  checkKeys(options, VERIFY_KEYS, where);
  const { camera, jobs = DEFAULT_JOBS } = options;
  if (camera !== undefined) checkCameraName(camera);
  if (!(Number.isInteger(jobs) && jobs >= 1 && jobs <= MAX_JOBS))
    throw new RangeError(`jobs is a whole number from 1 to ${MAX_JOBS}, not ${jobs}`);
}

export class ArchiveCheck {
  readonly #deps: ArchiveCheckDeps;

  constructor(deps: ArchiveCheckDeps) {
    this.#deps = deps;
  }

  async *verify(options: VerifyOptions = {}): AsyncGenerator<VerifyReport, void, undefined> {
    const { root, io } = this.#deps;
    const { camera, jobs = DEFAULT_JOBS } = options;
    const wanted = (name: string) => camera === undefined || name === camera;
    const checked = await checkCatalog(join(root, 'catalog.db'));
    if (checked.state === 'damaged') yield catalogDamaged(checked.reason);
    const rows = new Map(checked.state === 'sound' ? checked.rows.map((row) => [row.id, row]) : []);
    const files = (await segmentFiles(io.disk, root)).filter((file) => wanted(file.camera)).toSorted(byPlace);
    const tell = await this.#progress(files, options);
    const check = async (file: SegmentFile) => tell(await this.segment(file, rows.get(file.id)));
    yield* inOrder(files, jobs, check);
    for (const { id } of files) rows.delete(id);
    for (const row of rows.values()) if (wanted(row.camera)) yield fileMissing(row);
    for (const name of new Set(files.map((file) => file.camera))) yield* this.#camera(name);
    for (const { note, ...file } of await otherFiles(io.disk, root))
      if (wanted(file.camera)) yield { ...NO_SEGMENT, ...file, notes: [note] };
  }

  async #progress(files: readonly SegmentFile[], { onProgress }: VerifyOptions) {
    if (onProgress === undefined) return (report: VerifyReport) => report;
    let total = 0;
    for (const { path } of files) {
      total += (await useIfThere(this.#deps.io.disk, path, (file) => file.stat()))?.size ?? 0;
    }
    let done = 0;
    return (report: VerifyReport) => {
      done += report.bytes;
      onProgress(done, Math.max(done, total));
      return report;
    };
  }

  /** Checks one segment, and its row if there is one. */
  async segment(file: SegmentFile, row?: SegmentRow, pace?: ExamineOptions['pace']): Promise<VerifyReport> {
    const { root, io } = this.#deps;
    const path = relative(root, file.path);
    const wasSealed = row?.state === 'sealed' && row.path === path;
    let { problems, ...report } = await verifySegment(file.path, io, { wasSealed, pace });
    // It may have been sealed or repaired while it was read: what is really wrong is so again.
    if (problems.length > 0) ({ problems, ...report } = await verifySegment(file.path, io, { wasSealed, pace }));
    const found: Problem<ProblemCode>[] = [...problems];
    if (wasSealed && problems.length === 0) found.push(...(await this.#compareRow(file, row)));
    const notes = report.state === 'sealed' && file.hasIndex ? ['its pseudo-header is still there'] : [];
    return { camera: file.camera, path, ...report, problems: found, notes };
  }

  async #compareRow(file: SegmentFile, row: SegmentRow): Promise<Problem<ProblemCode>[]> {
    const wanted = await this.#rowOf(file);
    if (wanted === undefined || isDeepStrictEqual({ ...wanted }, { ...row })) return [];
    // Whoever sealed or repaired it writes the row afterwards.
    const names = Object.keys(wanted) as (keyof SegmentRow)[];
    const differing = names.filter((name) => !isDeepStrictEqual(wanted[name], row[name]));
    const message = `the catalog has otherwise than the file: ${differing.join(', ')}`;
    return [{ code: 'row-differs', from: 0, to: 0, message }];
  }

  async #rowOf({ camera, path }: SegmentFile): Promise<SegmentRow | undefined> {
    const { root, io } = this.#deps;
    const trailer = await useIfThere(io.disk, path, (file) => readTrailer(file, io.native));
    return trailer && sealedRow(camera, relative(root, path), trailer);
  }

  async *#camera(camera: string): AsyncGenerator<VerifyReport, void, undefined> {
    const { root, io } = this.#deps;
    const path = join(camera, '.camera');
    if ((await knownCameraUuid(io.disk, join(root, path))) !== undefined) return;
    const message = 'the identity of the camera is missing or damaged';
    yield { ...NO_SEGMENT, camera, path, problems: [{ code: 'camera-damaged', from: 0, to: 0, message }] };
  }

  /** Verifies, and repairs what can be; of a camera that is being recorded nothing. */
  async *repair(options: VerifyOptions = {}): AsyncGenerator<RepairReport, void, undefined> {
    for await (const report of this.verify(options)) {
      const needed = report.problems.length > 0 || report.state === 'open';
      yield needed ? await this.#repair(report) : { ...report, repair: null, remaining: [] };
    }
  }

  async #repair(report: VerifyReport): Promise<RepairReport> {
    const { writers } = this.#deps;
    // Not under the connections that are open to it, this one's among them.
    if (report.camera === '' && report.problems.length > 0)
      return { ...report, ...CATALOG_IN_USE, remaining: report.problems };
    const done = await writers.whileFree(report.camera, (deps) => this.#repairLocked(report, deps));
    if (done !== undefined) return done;
    if (report.problems.length === 0) return { ...report, repair: null, remaining: [] };
    const reason = 'the camera is being recorded: repair it when it is not';
    return { ...report, repair: { outcome: 'skipped', reason }, remaining: report.problems };
  }

  async #repairLocked(report: VerifyReport, deps: RecoverDeps): Promise<RepairReport> {
    if (report.problems.some(({ code }) => code === 'camera-damaged')) return this.#repairIdentity(report);
    const file = this.#fileOf(report);
    const row = this.#deps.catalog.find(report.camera, file.id);
    if (report.problems.some(({ code }) => code === 'file-missing')) return this.#forget(report, file);
    const known = { repairGeneration: row?.repairGeneration ?? 0, wasSealed: report.state === 'sealed' };
    const repair = await repairSegment(file.path, { ...deps, ...known });
    // Also of a crash's leavings, whose names nobody has made durable yet.
    await syncPath(this.#deps.io.disk, dirname(file.path), this.#deps.root);
    const action = await this.#note(file, repair);
    if (repair.outcome === 'set-aside' || repair.outcome === 'removed')
      return { ...report, repair: action, remaining: [] };
    const { problems } = await this.segment(file);
    return { ...report, repair: action, remaining: problems };
  }

  #fileOf({ camera, path }: VerifyReport): SegmentFile {
    const id = segmentIdOf(basename(path)) ?? '';
    return { camera, id, path: join(this.#deps.root, path), hasIndex: false, wasRepaired: false };
  }

  /** Tells the catalog. */
  async #note(file: SegmentFile, repair: Repair): Promise<RepairAction> {
    const { root, catalog } = this.#deps;
    switch (repair.outcome) {
      case 'repaired': {
        const { trailer, problems: _, kept, ...rest } = repair;
        catalog.put(sealedRow(file.camera, relative(root, file.path), trailer));
        const place = kept === null ? null : relative(root, kept);
        return { ...rest, kept: place, repairGeneration: trailer.repairGeneration };
      }
      case 'set-aside':
        catalog.remove(file.id);
        return { outcome: 'set-aside', path: relative(root, repair.path) };
      case 'removed':
        catalog.remove(file.id);
        return { outcome: 'removed' };
      case 'failed': {
        const { code, message } = repair.error;
        return { outcome: 'failed', error: { code, message } };
      }
      default: {
        const row = await this.#rowOf(file);
        if (row !== undefined) catalog.put(row);
        return { outcome: 'rewritten' };
      }
    }
  }

  #forget(report: VerifyReport, { id }: SegmentFile): RepairReport {
    this.#deps.catalog.remove(id);
    return { ...report, repair: { outcome: 'rewritten' }, remaining: [] };
  }

  /** Every segment names its camera. */
  async #repairIdentity(report: VerifyReport): Promise<RepairReport> {
    const { root, io } = this.#deps;
    for (const file of await segmentFiles(io.disk, root)) {
      const uuid = file.camera === report.camera ? await this.#cameraOf(file) : undefined;
      if (uuid === undefined) continue;
      await restoreCameraUuid(io.disk, join(root, report.camera), uuid);
      return { ...report, repair: { outcome: 'rewritten' }, remaining: [] };
    }
    const error = {
      code: 'E_DAMAGED',
      message: 'no segment says whose it is: the next recording makes a new identity',
    };
    return { ...report, repair: { outcome: 'failed', error }, remaining: report.problems };
  }

  async #cameraOf({ path }: SegmentFile): Promise<string | undefined> {
    const { disk, native } = this.#deps.io;
    const head = await useIfThere(
      disk,
      path,
      async (file) => (await readTrailer(file, native))?.head ?? (await readFileHead(file, native)),
    );
    return head?.camera;
  }
}

const byPlace = (a: SegmentFile, b: SegmentFile) => (a.path < b.path ? -1 : 1);

function catalogDamaged(reason: string): VerifyReport {
  const message = `the catalog is damaged and will be made anew from the files: ${reason}`;
  return {
    ...NO_SEGMENT,
    camera: '',
    path: 'catalog.db',
    problems: [{ code: 'catalog-damaged', from: 0, to: 0, message }],
  };
}

function fileMissing({ camera, path }: SegmentRow): VerifyReport {
  const message = 'the catalog knows this segment, and its file is gone';
  return { ...NO_SEGMENT, camera, path, problems: [{ code: 'file-missing', from: 0, to: 0, message }] };
}
