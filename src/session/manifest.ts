/** What an answer holds and what it lacks, in words that evidence can quote. */
import type { Track } from '../media.ts';
import type { Prefixes } from './packed.ts';
import type { PlanRequest } from './request.ts';
import type { SegmentRow } from '../catalog/catalog.ts';
import type { PlanSegment } from './run.ts';
import type { Part, Span } from './select.ts';
import type { Piece, SilentPiece } from './pieces.ts';
import type { Timeline } from './timeline.ts';

export interface Manifest {
  readonly camera: string;
  readonly asked: Span;
  /** Spans in the order of the file; where runs overlap in wall time, so do these. */
  readonly delivered: readonly Span[];
  /** What no answer to this range holds: with `changes=split`, none of its parts. */
  readonly missing: readonly Span[];
  readonly policy: Pick<PlanRequest, 'gaps' | 'changes' | 'begin' | 'tracks' | 'keyframes' | 'speed' | 'format'>;
  /** RFC 6381 codec of each track of the answer. */
  readonly codecs: readonly string[];
  /** UUIDs of the segments that bytes come from. */
  readonly segments: readonly string[];
  /** Pictures before the first presented one that are in the file because decoding needs them. */
  readonly hiddenPictures: number;
  readonly silentAudioFrames: number;
  readonly droppedAudioFrames: number;
  readonly widenedJoints: number;
  /** Joints at which the wall time of the next part begins before the end of the one before. */
  readonly overlaps: number;
  /** Several parameter sets: every sync sample brings its own. */
  readonly insertedParameterSets: boolean;
  /** Tracks of these segments that are not in the answer, by codec. */
  readonly omittedCodecs: readonly string[];
  /** With `changes=split`: which of how many answers this is. */
  readonly part: number;
  readonly parts: number;
}

export interface ManifestInput {
  readonly request: PlanRequest;
  readonly parts: readonly Part[];
  readonly timeline: Timeline;
  readonly delivered: readonly Span[];
  readonly missing: readonly Span[];
  readonly descriptions: readonly Track[];
  readonly answers: number;
  readonly prefixes: Prefixes | undefined;
}

export function manifestOf(input: ManifestInput): Manifest {
  const { request, timeline, delivered, missing, descriptions, answers, prefixes } = input;
  const { tracks, widenedJoints } = timeline;
  const used = usedSegments(input);
  const silent = tracks.flatMap(({ pieces }) => pieces.filter(({ kind }) => kind === 'silence'));
  const { gaps, changes, begin, tracks: choice, keyframes, speed, format } = request;
  return {
    camera: request.camera,
    asked: { startUtcMs: request.startUtcMs, endUtcMs: request.endUtcMs },
    delivered,
    missing,
    policy: { gaps, changes, begin, tracks: choice, keyframes, speed, format },
    codecs: descriptions.map(({ codec }) => codec),
    segments: idsOf(used),
    hiddenPictures: keyframes ? 0 : input.parts.reduce((sum, part) => sum + part.hiddenPictures, 0),
    silentAudioFrames: silent.reduce((sum, { count }) => sum + count, 0),
    droppedAudioFrames: tracks.reduce((sum, track) => sum + track.droppedFrames, 0),
    widenedJoints,
    overlaps: delivered.filter((span, i) => i > 0 && span.startUtcMs < (delivered[i - 1]?.endUtcMs ?? 0) - 1).length,
    insertedParameterSets: prefixes !== undefined,
    omittedCodecs: omitted(used, input),
    part: request.changes === 'split' ? request.part : 1,
    parts: answers,
  };
}

function mediaPieces({ timeline }: ManifestInput): Exclude<Piece, SilentPiece>[] {
  return timeline.tracks.flatMap(({ pieces }) => pieces.filter((piece) => piece.kind !== 'silence'));
}

function usedSegments(input: ManifestInput): PlanSegment[] {
  const used = new Set<PlanSegment>();
  for (const { part, segment } of mediaPieces(input)) {
    const found = input.parts[part]?.run.segments[segment];
    if (found !== undefined) used.add(found);
  }
  return [...used].toSorted((a, b) => byTime(a.row, b.row));
}

function idsOf(used: readonly PlanSegment[]): string[] {
  const rows = used.flatMap(({ links }) => links.map(({ row }) => row)).toSorted(byTime);
  return [...new Set(rows.map(({ id }) => id))];
}

const byTime = (a: SegmentRow, b: SegmentRow) => a.startUtcMs - b.startUtcMs || a.sequence - b.sequence;

function omitted(used: readonly PlanSegment[], input: ManifestInput): string[] {
  const taken = new Set(mediaPieces(input).map(({ source }) => source.index));
  const left = used.flatMap(({ tracks }) =>
    tracks.flatMap((track, i) => (track === undefined || taken.has(i) ? [] : [track.codec])),
  );
  return [...new Set(left)];
}
