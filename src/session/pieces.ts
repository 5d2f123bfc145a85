/**
 * The pieces that a track of an answer is made of. A piece is a row of samples of one segment that follow each other:
 * those of a window, one by one, or a block; or silence, or the sync samples of a time-lapse. Times are ticks of the
 * answer's track, counted from the first presented instant of the answer.
 */
import type { Edit } from '../mp4/movie.ts';
import type { KeyPiece } from './keyframes.ts';
import type { ItemGroup, PlanSegment, RunTrack } from './run.ts';
import type { Part } from './select.ts';

/** Samples of a segment, from a window or a block. */
export interface StoredPiece {
  readonly kind: 'samples' | 'block';
  /** Index of the part, and of the segment in its run. */
  readonly part: number;
  readonly segment: number;
  readonly source: RunTrack;
  /** Items [from, to) of the source; of a block there is one. */
  readonly from: number;
  to: number;
  /** Samples [sample, sample + count) of the segment's track. */
  readonly sample: number;
  count: number;
  /** DTS of the first sample. */
  readonly start: number;
  /** From the last sample to what follows it; undefined: as it is stored. */
  lastTicks: number | undefined;
}

/** Silent frames that no camera sent. */
export interface SilentPiece {
  readonly kind: 'silence';
  readonly part: number;
  readonly count: number;
  readonly start: number;
  /** Length of each frame. */
  readonly frameTicks: number;
}

export type Piece = StoredPiece | SilentPiece | KeyPiece;

/** One track of an answer. */
export interface AnswerTrack {
  readonly kind: 'video' | 'audio';
  /** Which of the audio tracks. */
  readonly rank: number;
  readonly timescale: number;
  readonly pieces: readonly Piece[];
  readonly edits: readonly Edit[];
  /** Sum of all deltas. */
  readonly durationTicks: number;
  /** Added to every composition offset, so that no picture is shown before media time 0. */
  readonly raise: number;
  /** The bytes of a silent frame. */
  readonly silence: Uint8Array | undefined;
  readonly droppedFrames: number;
}

export function pieceOf(
  { kind, segment, from, to, sample, count }: ItemGroup,
  place: Pick<StoredPiece, 'part' | 'source' | 'start'>,
): StoredPiece {
  const stored = kind === 'block' ? 'block' : 'samples';
  return { kind: stored, segment, from, to, sample, count, lastTicks: undefined, ...place };
}

/** The segment, or the chain, that a piece is of. */
export function segmentOf({ part, segment }: StoredPiece | KeyPiece, parts: readonly Part[]): PlanSegment {
  const found = parts[part]?.run.segments[segment];
  if (found === undefined) throw new RangeError('a piece has a segment');
  return found;
}

/** DTS of the first sample of each link of a chain, ticks of the answer's track. */
export function linkStarts({ source, start }: StoredPiece, { links }: PlanSegment, timescale: number): number[] {
  const { index } = source;
  const scale = timescale / source.timescale;
  const firstDts = links[0]?.row.tracks[index]?.firstDts ?? 0;
  return links.map(({ row }) => start + ((row.tracks[index]?.firstDts ?? 0) - firstDts) * scale);
}
