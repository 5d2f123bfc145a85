/**
 * What exists of a camera, as spans of wall time and the gaps between them. An open segment counts up to its last
 * plannable sample now.
 */
import { join } from 'node:path';
import type { ErrorCode } from '../errors.ts';
import type { SegmentCache } from '../segment/cache.ts';
import { extentOf } from '../segment/summary.ts';
import type { Catalog, SegmentSpan } from './catalog.ts';

export interface UtcSpan {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
}

export interface CameraInfo extends UtcSpan {
  readonly name: string;
  /** Whether a segment is open, that is: being recorded. */
  readonly recording: boolean;
  readonly segments: number;
  readonly spans: readonly UtcSpan[];
}

export interface Timeline {
  readonly camera: string;
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly spans: readonly UtcSpan[];
  readonly gaps: readonly TimelineGap[];
}

export interface TimelineGap extends UtcSpan {
  /** Why there is nothing, where that could be told: the disk failed, the camera was away. */
  readonly cause?: ErrorCode;
}

/** Segments that are less than this apart are continuous: times are kept in microseconds. */
export const JOIN_TOLERANCE_MS = 1;

export async function listCameras(archive: string, catalog: Catalog, cache: SegmentCache): Promise<CameraInfo[]> {
  await closeSealed(catalog, cache);
  const cameras: CameraInfo[] = [];
  for (const name of catalog.cameras()) {
    const rows = catalog.spans(name, -Infinity, Infinity);
    const spans = merge(await spansOf(archive, rows, cache));
    const [first] = spans;
    const last = spans.at(-1);
    if (first === undefined || last === undefined) continue;
    cameras.push({
      name,
      startUtcMs: first.startUtcMs,
      endUtcMs: last.endUtcMs,
      recording: rows.some((row) => row.state === 'open'),
      segments: rows.length,
      spans,
    });
  }
  return cameras;
}

export async function timelineOf(
  archive: string,
  catalog: Catalog,
  cache: SegmentCache,
  camera: string,
  span?: UtcSpan,
): Promise<Timeline> {
  await closeSealed(catalog, cache);
  const rows = catalog.spans(camera, span?.startUtcMs ?? -Infinity, span?.endUtcMs ?? Infinity);
  const all = merge(await spansOf(archive, rows, cache));
  const limits = span ?? { startUtcMs: all[0]?.startUtcMs ?? 0, endUtcMs: all.at(-1)?.endUtcMs ?? 0 };
  const spans = all.flatMap((one) => clip(one, limits) ?? []);
  return { camera, ...limits, spans, gaps: gapsBetween(spans, limits) };
}

/** A server that only lists opens segments as well: those that were sealed since must not stay open. */
async function closeSealed(catalog: Catalog, cache: SegmentCache): Promise<void> {
  await cache.keepOpen(new Set(catalog.open().map((row) => row.id)));
}

async function spansOf(archive: string, rows: readonly SegmentSpan[], cache: SegmentCache): Promise<UtcSpan[]> {
  const spans: UtcSpan[] = [];
  for (const row of rows) {
    if (row.endUtcMs !== undefined) {
      spans.push({ startUtcMs: row.startUtcMs, endUtcMs: row.endUtcMs });
      continue;
    }
    const path = join(archive, row.path);
    const contents = await cache.read({ id: row.id, path, state: row.state, repairGeneration: row.repairGeneration });
    const extent = contents && extentOf(contents);
    if (extent !== undefined) spans.push({ startUtcMs: extent.startUtcMs, endUtcMs: extent.endUtcMs });
  }
  return spans;
}

function merge(spans: readonly UtcSpan[]): UtcSpan[] {
  const merged: { startUtcMs: number; endUtcMs: number }[] = [];
  for (const span of spans.toSorted((a, b) => a.startUtcMs - b.startUtcMs)) {
    const last = merged.at(-1);
    if (last !== undefined && span.startUtcMs <= last.endUtcMs + JOIN_TOLERANCE_MS) {
      last.endUtcMs = Math.max(last.endUtcMs, span.endUtcMs);
    } else {
      merged.push({ ...span });
    }
  }
  return merged;
}

function clip(span: UtcSpan, limits: UtcSpan): UtcSpan | undefined {
  const startUtcMs = Math.max(span.startUtcMs, limits.startUtcMs);
  const endUtcMs = Math.min(span.endUtcMs, limits.endUtcMs);
  return endUtcMs > startUtcMs ? { startUtcMs, endUtcMs } : undefined;
}

/** What of `limits` the (sorted, disjoint) spans leave uncovered. */
export function gapsBetween(spans: readonly UtcSpan[], limits: UtcSpan): UtcSpan[] {
  const gaps: UtcSpan[] = [];
  let at = limits.startUtcMs;
  for (const span of spans) {
    if (span.startUtcMs > at + JOIN_TOLERANCE_MS) gaps.push({ startUtcMs: at, endUtcMs: span.startUtcMs });
    at = Math.max(at, span.endUtcMs);
  }
  if (limits.endUtcMs > at + JOIN_TOLERANCE_MS) gaps.push({ startUtcMs: at, endUtcMs: limits.endUtcMs });
  return gaps;
}
