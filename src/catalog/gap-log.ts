/**
 * Why there are gaps: what a recorder tells of the time when its disk had failed, and a live camera of that when it was away, kept beside the segments in
 * `CAMERA/.gaps`, a line of JSON for each gap (docs/format.md, "Gaps"). Lines are only ever appended, by the holder of the
 * camera's writer lock.
 */
import { join } from 'node:path';
import { ERROR_CODES, type ErrorCode, ioError } from '../errors.ts';
import { type Disk, OPEN_OR_MAKE, readIfThere, readUpTo, syncDirectory, writeAll } from '../segment/disk.ts';
import type { Timeline, TimelineGap, UtcSpan } from './timeline.ts';

export interface NotedGap extends UtcSpan {
  readonly cause: ErrorCode;
  /** Frames per track. */
  readonly lost: readonly number[];
}

const NEWLINE = 10;

const pathOf = (cameraDirectory: string) => join(cameraDirectory, '.gaps');

/** @throws FootageError E_DISK_FULL, E_READ_ONLY, E_IO */
export async function appendGap(disk: Disk, cameraDirectory: string, gap: NotedGap): Promise<void> {
  const path = pathOf(cameraDirectory);
  const file = await disk.open(path, OPEN_OR_MAKE).catch((error: unknown) => {
    throw ioError(error, `opening ${path}`);
  });
  try {
    const { size } = await file.stat();
    // Whoever wrote before may have died in the middle of a line.
    const whole = size === 0 || (await readUpTo(file, size - 1, 1))[0] === NEWLINE;
    await writeAll(file, [Buffer.from(`${whole ? '' : '\n'}${JSON.stringify(gap)}\n`)], size);
    await file.sync();
  } finally {
    await file.close();
  }
  await syncDirectory(disk, cameraDirectory);
}

/** What was noted of a camera; lines that do not read are left out. */
export async function readGaps(disk: Disk, cameraDirectory: string): Promise<NotedGap[]> {
  const bytes = await readIfThere(disk, pathOf(cameraDirectory));
  const lines = Buffer.from(bytes ?? [])
    .toString('utf8')
    .split('\n');
  return lines.flatMap((line) => parseGap(line) ?? []);
}

function parseGap(line: string): NotedGap | undefined {
  try {
    const gap: unknown = JSON.parse(line);
    return isGap(gap) ? gap : undefined;
  } catch {
    return undefined;
  }
}

function isGap(value: unknown): value is NotedGap {
  if (typeof value !== 'object' || value === null) return false;
  const { startUtcMs, endUtcMs, cause, lost } = value as Partial<Record<keyof NotedGap, unknown>>;
  const numbers = [startUtcMs, endUtcMs, ...(Array.isArray(lost) ? lost : [undefined])];
  return numbers.every(Number.isFinite) && typeof cause === 'string' && cause in ERROR_CODES;
}

/** The timeline with the cause of each gap of which one was noted: the one that covers most of it. */
export function withCauses(timeline: Timeline, noted: readonly NotedGap[]): Timeline {
  if (noted.length === 0) return timeline;
  const inOrder = noted.toSorted((a, b) => a.startUtcMs - b.startUtcMs);
  // Both in order: what ends before a gap begins is of no interest to the gaps behind it.
  let first = 0;
  const gaps = timeline.gaps.map((gap) => {
    while ((inOrder[first]?.endUtcMs ?? Infinity) <= gap.startUtcMs) first++;
    return withCause(gap, inOrder, first);
  });
  return { ...timeline, gaps };
}

function withCause(gap: UtcSpan, noted: readonly NotedGap[], first: number): TimelineGap {
  let best: { readonly cause: ErrorCode; readonly coveredMs: number } | undefined;
  for (let i = first; i < noted.length; i++) {
    const one = noted[i];
    if (one === undefined || one.startUtcMs >= gap.endUtcMs) break;
    const coveredMs = Math.min(gap.endUtcMs, one.endUtcMs) - Math.max(gap.startUtcMs, one.startUtcMs);
    if (coveredMs > (best?.coveredMs ?? 0)) best = { cause: one.cause, coveredMs };
  }
  return best === undefined ? gap : { ...gap, cause: best.cause };
}
