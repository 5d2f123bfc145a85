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
import { boxHeader, concatBytes } from '../mp4/box.ts';
import { FTYP, writeMovie } from '../mp4/movie.ts';
import { checkSameConfiguration } from './configuration.ts';
import type { Run } from './run.ts';
import { type Part, selectRun, showInside, type Span } from './select.ts';
import { refuseLongParts } from './size.ts';
import { buildPayload, type Payload } from './slices.ts';
import { type AnswerTrack, buildTimeline, type Timeline } from './timeline.ts';
import { type Slice, VirtualFile } from './virtual-file.ts';

/** Part of every ETag: raised whenever the same plan would give other bytes than before. */
const RENDERER_VERSION = 1;

export type GapPolicy = 'collapse' | 'error';

export interface PlanRequest extends Span {
  readonly camera: string;
  readonly gaps: GapPolicy;
}

export interface Manifest {
  readonly camera: string;
  readonly asked: Span;
  readonly delivered: readonly Span[];
  readonly missing: readonly Span[];
  /** RFC 6381 codec of each track of the answer. */
  readonly codecs: readonly string[];
  /** UUIDs of the segments that bytes come from. */
  readonly segments: readonly string[];
  /** Pictures before the first presented one that are in the file because decoding needs them. */
  readonly hiddenPictures: number;
  readonly silentAudioFrames: number;
  readonly droppedAudioFrames: number;
  readonly widenedJoints: number;
}

export interface Plan {
  readonly file: VirtualFile;
  readonly manifest: Manifest;
}

/** @throws FootageError E_RANGE_EMPTY, E_RANGE_TOO_LONG, E_GAP, E_CHANGES */
export function planMp4(runs: readonly Run[], request: PlanRequest): Plan {
  const selected = runs.toSorted(byStart).flatMap((run) => selectRun(run, request));
  const parts = selected.map((part, i) => showInside(part, i > 0, i + 1 < selected.length));
  if (parts.length === 0) throw nothingThere(request);
  refuseLongParts(parts);
  checkSameConfiguration(parts);
  const delivered = parts.map(spanOf);
  const missing = gapsBetween(
    delivered.toSorted((a, b) => a.startUtcMs - b.startUtcMs),
    request,
  );
  if (request.gaps === 'error' && missing.length > 0) throw gapError(request, missing);
  const timeline = buildTimeline(parts);
  const payload = buildPayload(parts, timeline.tracks);
  const creationUtcMs = delivered[0]?.startUtcMs ?? 0;
  const header = headerOf(timeline, payload, creationUtcMs);
  const slices: Slice[] = [{ kind: 'bytes', data: header }, ...payload.slices];
  const etag = etagOf(request, parts, timeline, creationUtcMs);
  const endUtcMs = Math.max(...delivered.map((span) => span.endUtcMs));
  return {
    file: new VirtualFile(slices, etag, Math.ceil(endUtcMs / 1000) * 1000),
    manifest: manifestOf(request, parts, timeline, delivered, missing),
  };
}

function nothingThere({ camera, startUtcMs, endUtcMs }: PlanRequest): FootageError {
  return new FootageError(
    'E_RANGE_EMPTY',
    `Camera "${camera}" has no footage between ${iso(startUtcMs)} and ${iso(endUtcMs)}: its timeline (or "footage list") shows what there is.`,
  );
}

const iso = (utcMs: number) => new Date(utcMs).toISOString();

function gapError({ camera }: PlanRequest, missing: readonly Span[]): FootageError {
  const [first] = missing;
  const where = first === undefined ? '' : ` from ${iso(first.startUtcMs)} to ${iso(first.endUtcMs)}`;
  return new FootageError(
    'E_GAP',
    `Footage of camera "${camera}" is missing${where}: ask for a range without gaps, or leave gaps=collapse.`,
  );
}

/** Runs go by the wall time of their first presented sample; the UUID decides between equal ones. */
function byStart(a: Run, b: Run): number {
  return a.startUtcMs - b.startUtcMs || (a.id < b.id ? -1 : 1);
}

/** Wall time of what a part presents. */
function spanOf({ video, audio, pictures, originS, endS }: Part): Span {
  const source = video?.source ?? audio?.source;
  if (source === undefined) throw new RangeError('a part has a track');
  const { clock, samples, track } = source;
  const selection = video ?? audio;
  const firstDts = samples.dts[selection?.from ?? 0] ?? 0;
  const lastDts = samples.dts[(selection?.to ?? 1) - 1] ?? 0;
  const from = pictures?.from ?? originS * track.timescale;
  const to = pictures?.to ?? endS * track.timescale;
  return {
    startUtcMs: clock.utcMs(Math.min(from, originS * track.timescale), firstDts),
    endUtcMs: clock.utcMs(to, lastDts),
  };
}

/** `ftyp`, `moov` and the header of `mdat`: everything in front of the payload. */
function headerOf(timeline: Timeline, payload: Payload, creationUtcMs: number): Uint8Array {
  const mdat = boxHeader('mdat', payload.length);
  const movie = writeMovie({
    timescale: timeline.timescale,
    creationUtcMs,
    tracks: timeline.tracks.map(({ track, samples, edits }) => ({ track, samples, edits })),
    extra: [],
    shift: (moovBytes) => FTYP.byteLength + moovBytes + mdat.byteLength,
  });
  return concatBytes([FTYP, movie.bytes, mdat]);
}

/** Hash of what decides the bytes: renderer, policy, and per part and segment identity and sample ranges. */
function etagOf(request: PlanRequest, parts: readonly Part[], timeline: Timeline, creationUtcMs: number): string {
  const identity = {
    renderer: RENDERER_VERSION,
    gaps: request.gaps,
    timescale: timeline.timescale,
    creationS: Math.floor(creationUtcMs / 1000),
    parts: parts.map((part, p) => ({
      origin: part.originS,
      end: part.endS,
      pictures: part.pictures,
      start: timeline.starts[p],
      segments: part.run.segments.flatMap(({ id, repairGeneration }, s) => {
        const samples = timeline.tracks.map((track) => samplesIn(track, p, s));
        return samples.some(isSome) ? [[id, repairGeneration, ...samples]] : [];
      }),
    })),
  };
  return `"${createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32)}"`;
}

/** The samples [from, to) of a segment, counted in the segment, that a part takes. */
function samplesIn({ picks }: AnswerTrack, part: number, segment: number): [number, number] {
  const selection = picks[part]?.selection;
  if (selection === undefined) return [0, 0];
  const base = selection.source.bases[segment] ?? 0;
  const count = (selection.source.bases[segment + 1] ?? 0) - base;
  const from = Math.min(count, Math.max(0, selection.from - base));
  return [from, Math.min(count, Math.max(from, selection.to - base))];
}

const isSome = ([from, to]: readonly [number, number]) => to > from;

function manifestOf(
  request: PlanRequest,
  parts: readonly Part[],
  { tracks, widenedJoints }: Timeline,
  delivered: readonly Span[],
  missing: readonly Span[],
): Manifest {
  const used = parts.flatMap((part, p) =>
    part.run.segments.filter((_, s) => tracks.some((track) => isSome(samplesIn(track, p, s)))),
  );
  const silent = tracks.flatMap((track) => track.silent.flat());
  return {
    camera: request.camera,
    asked: { startUtcMs: request.startUtcMs, endUtcMs: request.endUtcMs },
    delivered,
    missing,
    codecs: tracks.map(({ track }) => track.codec),
    segments: [...new Set(used.map(({ id }) => id))],
    hiddenPictures: parts.reduce((sum, part) => sum + part.hiddenPictures, 0),
    silentAudioFrames: silent.reduce((sum, { from, to }) => sum + to - from, 0),
    droppedAudioFrames: tracks.reduce((sum, track) => sum + track.droppedFrames, 0),
    widenedJoints,
  };
}
