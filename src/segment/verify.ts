/**
 * Checks one segment: every checksum, and every table against the frames. Changes nothing.
 */
import { FootageError } from '../errors.ts';
import { type DiskFile, openIfThere, type SegmentIo, withZeros } from './disk.ts';
import { examine, type Examination, type ExamineOptions, type Problem, type SegmentProblemCode } from './examine.ts';

export interface SegmentReport {
  readonly state: 'sealed' | 'open' | 'unreadable';
  /** Frames that the tables name; without tables, those in the file. */
  readonly frames: number;
  /** Length of the file. */
  readonly bytes: number;
  /** Empty = all is well. */
  readonly problems: readonly Problem[];
  /** Bytes in the file that belong to no record, such as the torn tail of a recovered segment. */
  readonly unexplainedBytes: number;
}

export async function verifySegment(path: string, io: SegmentIo, options: ExamineOptions = {}): Promise<SegmentReport> {
  const opened = await openIfThere(io.disk, path);
  const file = opened && withZeros(opened);
  if (file === undefined) return unreadable(0, 'unreadable', 'the file is gone');
  try {
    return reportOf(await examine(file, path, io, options));
  } catch (error) {
    return await failed(file, error);
  } finally {
    await file.close();
  }
}

function reportOf({
  trailer,
  wasSealed,
  head,
  contents,
  size,
  problems,
  unexplainedBytes,
}: Examination): SegmentReport {
  const found = contents?.tracks.reduce((sum, { samples }) => sum + samples.count, 0) ?? 0;
  const frames = trailer?.tracks.reduce((sum, track) => sum + track.samples, 0) ?? found;
  const state = head === undefined ? 'unreadable' : wasSealed ? 'sealed' : 'open';
  return { state, frames, bytes: size, problems, unexplainedBytes };
}

async function failed(file: DiskFile, error: unknown): Promise<SegmentReport> {
  const newer = error instanceof FootageError && error.code === 'E_FORMAT_VERSION';
  const { size } = await file.stat();
  return unreadable(
    size,
    newer ? 'newer-format' : 'unreadable',
    error instanceof Error ? error.message : String(error),
  );
}

function unreadable(bytes: number, code: SegmentProblemCode, message: string): SegmentReport {
  const problems = [{ code, from: 0, to: bytes, message }];
  return { state: 'unreadable', frames: 0, bytes, problems, unexplainedBytes: 0 };
}
