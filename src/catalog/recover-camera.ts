/**
 * Recovers the segments of one camera that a crash left open, and tells the catalog. The caller holds the camera's
 * writer lock. A segment that cannot be recovered keeps nothing else from being: it is reported as failed.
 */
import { dirname, join, relative } from 'node:path';
import { ioError } from '../errors.ts';
import { isThere, syncPath } from '../segment/disk.ts';
import { type RecoverOptions, type Recovery, recoverSegment } from '../segment/recover.ts';
import { journalPathOf } from '../segment/layout.ts';
import { repairSegment } from '../segment/repair.ts';
import type { Catalog } from './catalog.ts';
import { sealedRow, type Unreadable } from './reconcile.ts';

export interface RecoveryReport {
  readonly camera: string;
  /** Path of the segment below the archive. */
  readonly path: string;
  readonly recovery: Recovery;
}

export interface RecoverDeps extends RecoverOptions {
  /** Folder of the archive. */
  readonly archive: string;
  readonly catalog: Catalog;
  /** Files that do not read as segments; those that recovery has dealt with are taken out. */
  readonly unreadable: Unreadable[];
}

export async function recoverCamera(camera: string, deps: RecoverDeps): Promise<RecoveryReport[]> {
  const { archive, catalog, unreadable } = deps;
  const reports: RecoveryReport[] = [];
  for (const { id, path } of catalog.open().filter((row) => row.camera === camera)) {
    const recovery = await recoverFile(path, deps);
    if (recovery.outcome === 'sealed') guarded(() => catalog.put(sealedRow(camera, path, recovery.trailer)));
    else if (recovery.outcome !== 'failed') guarded(() => catalog.remove(id));
    reports.push({ camera, path, recovery });
  }
  // Begun and never written, or damaged at their very beginning.
  for (const file of unreadable.filter((one) => one.camera === camera)) {
    const path = relative(archive, file.path);
    const recovery = await recoverFile(path, deps);
    if (recovery.outcome === 'sealed') guarded(() => catalog.put(sealedRow(camera, path, recovery.trailer)));
    if (recovery.outcome !== 'failed') unreadable.splice(unreadable.indexOf(file), 1);
    reports.push({ camera, path, recovery });
  }
  return reports;
}

async function recoverFile(path: string, deps: RecoverDeps): Promise<Recovery> {
  const file = join(deps.archive, path);
  try {
    if (!(await isThere(deps.disk, file))) return { outcome: 'empty' };
    const inRepair = await isThere(deps.disk, journalPathOf(file));
    const recovery = inRepair ? await finishRepair(file, deps) : await recoverSegment(file, deps);
    // Whoever made the file may have died before its name was durable.
    if (recovery.outcome === 'sealed') await syncPath(deps.disk, dirname(file), deps.archive);
    return recovery;
  } catch (error) {
    return { outcome: 'failed', error: ioError(error, `recovering ${path}`) };
  }
}

/** A repair that was interrupted has a segment without its end: only the repair knows how to go on. */
async function finishRepair(file: string, deps: RecoverDeps): Promise<Recovery> {
  const repair = await repairSegment(file, deps);
  if (repair.outcome === 'sound') return recoverSegment(file, deps);
  if (repair.outcome === 'removed') return { outcome: 'empty' };
  if (repair.outcome !== 'repaired') return repair;
  const { trailer, frames, unreferenced } = repair;
  return { outcome: 'sealed', trailer, frames, unreferenced, damaged: [] };
}

/** The catalog is a cache: when it fails, everything else goes on, and the next start reads the files. */
export function guarded(change: () => void): void {
  try {
    change();
  } catch (error) {
    process.emitWarning(`The catalog could not be updated: ${String(error)}`, { code: 'FOOTAGE_CATALOG' });
  }
}
