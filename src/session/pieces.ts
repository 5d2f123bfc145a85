/**
 * The pieces that a track of an answer is made of. A piece is a row of samples of one segment that follow each other:
 * those of a window, one by one, or a block; or silence, or the sync samples of a time-lapse. Times are ticks of the
 * answer's track, counted from the first presented instant of the answer.
 */
import type { Edit } from '../mp4/movie.ts';
import type { KeyPiece } from './keyframes.ts';
import type { ItemGroup, RunTrack } from './run.ts';

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
