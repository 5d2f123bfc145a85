/**
 * Pass 1: from the runs of a camera and a range of wall time to a virtual file with exact length, ETag and
 * Last-Modified, and a manifest of what was asked, delivered and missing. The end is frozen here: what is appended later
 * belongs to the next plan.
 *
 * The ETag covers whatever decides the bytes and nothing else: never paths, row ids or modification times, nor where the
 * tables came from. Same plan, same bytes: open, sealed or rebuilt.
 */
import { createHash } from 'node:crypto';
import { gapsBetween } from '../catalog/timeline.ts';
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { writeSampleEntry } from '../mp4/sample-entry.ts';
import { joinable, prefixesOf, trackOf } from './configuration.ts';
import { buildFragmented, type FragmentDeps } from './fragmented.ts';
import { buildHeader } from './header.ts';
import { type Manifest, manifestOf } from './manifest.ts';
import { type MediaTimes, mediaTimesOf } from './media-times.ts';
import type { PackedDeps, Prefixes } from './packed.ts';
import { buildPayload, isPacked } from './payload.ts';
import type { PlanRequest, TrackChoice } from './request.ts';
import { type Run, type StoredSegment, unchained } from './run.ts';
import { type Part, placed, selectRun, type Span } from './select.ts';
import { type AnswerTrack, linkStarts, type Piece, segmentOf } from './pieces.ts';
import { buildTimeline, type Timeline } from './timeline.ts';
import { sliceLength, VirtualFile } from './virtual-file.ts';

/** Part of every ETag: raised whenever the same plan would give other bytes than before. */
export const RENDERER_VERSION = 2;

export interface Plan {
  readonly file: VirtualFile;
  readonly contentType: string;
  readonly manifest: Manifest;
  readonly media: MediaTimes;
}

/** Wall times at which the parts begin: the sync sample before or behind the start, where one is asked for. */
export function beginsOf(runs: readonly Run[], request: PlanRequest): number[] {
  return selectAll(runs, request).map((part) => spanOf(part).startUtcMs);
}

/** @throws FootageError E_RANGE_EMPTY */
function selectAll(runs: readonly Run[], request: PlanRequest): Part[] {
  const all = runs.toSorted(byStart).flatMap((run) => selectRun(run, wishOf(request)));
  if (all.length === 0) throw nothingThere(request);
  return all;
}

/** @throws FootageError E_RANGE_EMPTY, E_GAP, E_CHANGES */
export function planMp4(runs: readonly Run[], request: PlanRequest, deps: PackedDeps & FragmentDeps): Plan {
  const all = selectAll(runs, request);
  const { parts: joined, answers, withoutAudio } = joinable(all, request.changes, request.part);
  if (joined.length === 0) throw nothingThere(request);
  const parts = joined.map((part, i) => placed(part, i > 0, i + 1 < joined.length));
  const delivered = parts.map(spanOf);
  const { gaps, keyframes, speed } = request;
  // What other pieces of a split answer hold is not missing.
  const missing = missingFrom(answers > 1 ? [...delivered, ...all.map(spanOf)] : delivered, request);
  if (request.gaps === 'error' && missing.length > 0) throw gapError(request, missing);
  const timeline = buildTimeline(parts, { gaps, keyframes, speed, spans: delivered });
  const sent = withoutAudio ? 'video' : request.tracks;
  const prefixes = prefixesOf(parts);
  // Only what goes out as it lies in the file can be planned without a look at each segment.
  const singly = request.format === 'fmp4' || parts.some((part) => isPacked(part, { prefixes, keyframes, sent }));
  if (singly && runs.some(hasChain)) return planMp4(runs.map(unchained), request, deps);
  const payload = buildPayload(parts, timeline.tracks, { packed: deps, prefixes, keyframes, sent });
  const creationUtcMs = delivered[0]?.startUtcMs ?? 0;
  const descriptions = timeline.tracks.map((track) => descriptionOf(track, parts));
  const input = { parts, timeline, payload, descriptions, prefixes, creationUtcMs };
  const fragmented = request.format === 'fmp4';
  const slices = fragmented ? buildFragmented({ ...input, deps }) : [...buildHeader(input), ...payload.slices];
  const etag = etagOf({ request, sent, parts, timeline, descriptions, prefixes, creationUtcMs });
  const endUtcMs = Math.max(...delivered.map((span) => span.endUtcMs));
  const file = new VirtualFile(slices, etag, Math.ceil(endUtcMs / 1000) * 1000);
  // What a player needs before any media: of fragments, the init segment.
  const [init] = slices;
  const headerBytes = fragmented && init !== undefined ? sliceLength(init) : file.length - payload.length;
  return {
    file,
    contentType: timeline.tracks.some(({ kind }) => kind === 'video') ? 'video/mp4' : 'audio/mp4',
    manifest: manifestOf({ request, parts, timeline, delivered, missing, descriptions, answers, prefixes }),
    media: mediaTimesOf({ parts, tracks: timeline.tracks, payload, lengthBytes: file.length, headerBytes }),
  };
}

const hasChain = ({ segments }: Run) => segments.some(({ links }) => links.length > 1);

/** A time-lapse has no pictures but sync samples, so nothing to hide before the first. */
function wishOf(request: PlanRequest) {
  const { startUtcMs, endUtcMs, tracks, begin, keyframes } = request;
  const range = { startUtcMs, endUtcMs };
  if (!keyframes) return { ...range, tracks, begin };
  return { ...range, tracks: 'video' as const, begin: begin === 'next' ? begin : ('keyframe' as const) };
}

function missingFrom(delivered: readonly Span[], request: PlanRequest): Span[] {
  // What was left out because it is no beginning is not missing.
  const startUtcMs = Math.max(request.startUtcMs, request.beginUtcMs ?? -Infinity);
  return gapsBetween(
    delivered.toSorted((a, b) => a.startUtcMs - b.startUtcMs),
    { startUtcMs, endUtcMs: request.endUtcMs },
  );
}

function nothingThere({ camera, startUtcMs, endUtcMs, tracks, begin }: PlanRequest): FootageError {
  const what = tracks === 'all' ? 'footage' : tracks;
  const hint = begin === 'next' ? ', or none that begins with a sync sample' : '';
  return new FootageError(
    'E_RANGE_EMPTY',
    `Camera "${camera}" has no ${what} between ${iso(startUtcMs)} and ${iso(endUtcMs)}${hint}: its timeline (or "footage list") shows what there is.`,
  );
}

const iso = (utcMs: number) => new Date(utcMs).toISOString();

function gapError({ camera }: PlanRequest, missing: readonly Span[]): FootageError {
  const [first] = missing;
  const where = first === undefined ? '' : ` from ${iso(first.startUtcMs)} to ${iso(first.endUtcMs)}`;
  return new FootageError(
    'E_GAP',
    `Footage of camera "${camera}" is missing${where}: ask for a range without gaps, or for gaps=collapse or gaps=freeze.`,
  );
}

/** Runs go by the wall time of their first presented sample; the UUID decides between equal ones. */
function byStart(a: Run, b: Run): number {
  if (a.startUtcMs !== b.startUtcMs) return a.startUtcMs - b.startUtcMs;
  if (a.id !== b.id) return a.id < b.id ? -1 : 1;
  return (a.segments[0]?.row.sequence ?? 0) - (b.segments[0]?.row.sequence ?? 0);
}

/** Wall time of what a part presents. */
function spanOf({ video, audios, pictures, originS, endS }: Part): Span {
  const selection = video ?? audios.find((audio) => audio !== undefined);
  if (selection === undefined) throw new RangeError('a part has a track');
  const { source, from, to } = selection;
  const { timescale } = source;
  const first = pictures?.from ?? originS * timescale;
  return {
    startUtcMs: source.utcMs(Math.min(first, originS * timescale), from),
    endUtcMs: source.utcMs(pictures?.to ?? endS * timescale, to - 1),
  };
}

/** What the sample entry of an answer's track tells: the configuration that comes first. */
function descriptionOf({ kind, rank }: AnswerTrack, parts: readonly Part[]): Track {
  for (const part of parts) {
    const selection = kind === 'video' ? part.video : part.audios[rank];
    if (selection !== undefined) return trackOf(part, selection);
  }
  throw new RangeError('a track of an answer has samples');
}

interface EtagInput {
  readonly request: PlanRequest;
  /** Kinds of tracks that are in the answer. */
  readonly sent: TrackChoice;
  readonly parts: readonly Part[];
  readonly timeline: Timeline;
  readonly descriptions: readonly Track[];
  readonly prefixes: Prefixes | undefined;
  readonly creationUtcMs: number;
}

/** Hash of what decides the bytes: renderer, policy, descriptions, and every piece with the identity of its segment. */
function etagOf({ request, sent, parts, timeline, descriptions, prefixes, creationUtcMs }: EtagInput): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(JSON.stringify(value)).update('\n');
  add([RENDERER_VERSION, request.format, request.keyframes, sent, prefixes !== undefined]);
  add([timeline.timescale, Math.floor(creationUtcMs / 1000)]);
  timeline.tracks.forEach((track, i) => {
    const { kind, timescale, edits, durationTicks, raise, pieces } = track;
    const description = descriptions[i];
    add([kind, timescale, edits, durationTicks, raise]);
    if (description !== undefined) hash.update(writeSampleEntry(description));
    add(pieces.flatMap((piece) => identitiesOf(piece, parts, timescale)));
  });
  return `"${hash.digest('hex').slice(0, 32)}"`;
}

/** One for each segment, whether it is a link of a chain or not. */
function identitiesOf(piece: Piece, parts: readonly Part[], timescale: number): string[] {
  const { kind, part, count, start } = piece;
  if (piece.kind === 'silence') return [`silence ${part} ${count} ${start} ${piece.frameTicks}`];
  const segment = segmentOf(piece, parts);
  if (piece.kind === 'keys') return [`keys ${versionOf(segment)} ${JSON.stringify(piece.ranges)} ${count} ${start}`];
  const { source, sample, lastTicks } = piece;
  const { index } = source;
  if (segment.links.length === 1) {
    return [`${kind} ${part} ${versionOf(segment)} ${index} ${sample} ${count} ${start} ${lastTicks}`];
  }
  const starts = linkStarts(piece, segment, timescale);
  return segment.links.map((link, i) => {
    const samples = link.row.tracks[index]?.samples ?? 0;
    return `${kind} ${part} ${versionOf(link)} ${index} 0 ${samples} ${starts[i]} undefined`;
  });
}

const versionOf = ({ row: { id, repairGeneration } }: StoredSegment) => `${id}/${repairGeneration}`;
