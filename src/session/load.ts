/**
 * Finds and reads the segments that a range needs, as runs: those that meet it, and earlier ones of a run where the
 * first does not begin with a sync sample.
 */
import { join } from 'node:path';
import type { Catalog, SegmentRow } from '../catalog/catalog.ts';
import type { SegmentCache } from '../segment/cache.ts';
import { joinRun, type PlanSegment, type Run } from './run.ts';
import type { Span } from './select.ts';

/** Audio around a cut may lie in the segment before: frames that arrived late, and the one that primes the decoder. */
const MARGIN_MS = 500;

export interface LoadDeps {
  /** Folder of the archive. */
  readonly archive: string;
  readonly catalog: Catalog;
  readonly cache: SegmentCache;
}

/** Rows of the segments that may meet the span. */
export function rowsOf(camera: string, span: Span, { catalog }: LoadDeps): SegmentRow[] {
  return catalog.segments(camera, span.startUtcMs - MARGIN_MS, span.endUtcMs + MARGIN_MS);
}

export async function loadRuns(rows: readonly SegmentRow[], deps: LoadDeps): Promise<Run[]> {
  await deps.cache.keepOpen(new Set(deps.catalog.open().map((row) => row.id)));
  const runs: Run[] = [];
  for (const id of new Set(rows.map((row) => row.run))) {
    const own = rows.filter((row) => row.run === id).toSorted((a, b) => a.sequence - b.sequence);
    const segments = await loadRun(own, deps);
    if (segments.length > 0) runs.push(joinRun(id, segments));
  }
  return runs;
}

async function loadRun(rows: readonly SegmentRow[], deps: LoadDeps): Promise<PlanSegment[]> {
  const segments: PlanSegment[] = [];
  for (const row of rows) segments.push(...(await loadSegment(row, deps)));
  const [first] = rows;
  if (first === undefined || first.sequence === 0) return segments;
  const earlier = deps.catalog.run(first.run).filter((row) => row.sequence < first.sequence);
  for (let row = earlier.pop(); row !== undefined && !beginsWithSync(segments); row = earlier.pop()) {
    segments.unshift(...(await loadSegment(row, deps)));
  }
  return segments;
}

async function loadSegment(row: SegmentRow, { archive, cache }: LoadDeps): Promise<PlanSegment[]> {
  const path = join(archive, row.path);
  const contents = await cache.read({ id: row.id, path, state: row.state, repairGeneration: row.repairGeneration });
  return contents === undefined ? [] : [{ id: row.id, path, repairGeneration: row.repairGeneration, contents }];
}

/** A segment cut at its hard size limit begins in the middle of a GOP. */
function beginsWithSync([first]: readonly PlanSegment[]): boolean {
  const video = first?.contents.tracks.find(({ track, samples }) => track.kind === 'video' && samples.count > 0);
  return video === undefined || video.samples.sync[0] === 1;
}
