/**
 * What of a run is in a range [start, end) of wall time: which pictures are presented, which samples decoding needs
 * besides, and the audio that goes with them (docs/decisions.md, "What is in a range").
 *
 * A sample is presented if its presentation interval meets the range. Borders lie on borders of presented pictures (of
 * audio frames where there is no video), for all tracks at the same instant.
 */
import { ptsAt } from '../segment/summary.ts';
import type { BeginPolicy, TrackChoice } from './request.ts';
import { lowerBound } from '../segment/track-tables.ts';
import { leadingTrack, type Run, type RunTrack, type Stretch, stretchesOf } from './run.ts';

/** A span of wall time, Unix ms, end exclusive. */
export interface Span {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
}

/** What to select. */
export interface Wish extends Span {
  readonly tracks: TrackChoice;
  readonly begin: BeginPolicy;
}

/** Items [from, to) of a track, in decode order. */
export interface Selection {
  readonly source: RunTrack;
  readonly from: number;
  readonly to: number;
}

/** A continuous piece of an answer, from one run. Times are seconds of the run's timeline unless they are ticks. */
export interface Part {
  readonly run: Run;
  readonly video: Selection | undefined;
  /** Per audio track of the run, by its rank among them. */
  readonly audios: readonly (Selection | undefined)[];
  /** Presented pictures, in ticks of the video: first presentation time and end. */
  readonly pictures: { readonly from: number; readonly to: number } | undefined;
  /** The first presented instant of the part, over all tracks; seconds. */
  readonly originS: number;
  /** Where the next part joins: end of the pictures, of the audio if there are none; seconds. */
  readonly endS: number;
  /** Pictures before the first presented one that decoding needs. */
  readonly hiddenPictures: number;
  /** The range ends inside the part: tracks end together. */
  readonly cutAtEnd: boolean;
  /** No audio frame before the first presented one is wanted, not even to prime a decoder. */
  readonly nothingBefore: boolean;
}

interface Pictures {
  readonly selection: Selection;
  readonly from: number;
  readonly to: number;
  /** The range begins behind the begin of the first picture of all, or ends before the end of the last: sound is cut there. */
  readonly cutAtStart: boolean;
  readonly cutAtEnd: boolean;
  readonly hidden: number;
}

const EPSILON_TICKS = 1e-6;

/** The parts of a run that meet the span, in order. */
export function selectRun(run: Run, wish: Wish): Part[] {
  const tracks = run.tracks.filter(({ kind }) => wish.tracks === 'all' || kind === wish.tracks);
  const leading = leadingTrack(tracks);
  if (leading === undefined) return [];
  const audios = tracks.filter(({ kind }) => kind === 'audio').map((source) => ({ source, ends: endsOf(source) }));
  const stretches = stretchesOf(leading);
  return stretches.flatMap((stretch, i) => {
    const window = audioWindow(leading, stretches, i);
    const pictures = leading.kind === 'video' ? selectPictures(leading, stretch, wish) : undefined;
    if (pictures !== undefined) return [videoPart(run, leading, audios, pictures, wish, window)];
    // A range may meet only the audio before the first or behind the last picture.
    return audioPart(run, audios, wish, window) ?? [];
  });
}

/** An audio track with, per item, how far (ticks) it and those before it reach. */
interface AudioTrack {
  readonly source: RunTrack;
  readonly ends: Float64Array;
}

function endsOf({ items }: RunTrack): Float64Array {
  const ends = new Float64Array(items.count);
  let end = -Infinity;
  for (let i = 0; i < items.count; i++) {
    end = Math.max(end, (items.dts[i] ?? 0) + (items.duration[i] ?? 0));
    ends[i] = end;
  }
  return ends;
}

/** Run time in seconds whose audio belongs to a stretch: a frame over a border goes with what is behind it. */
interface Window {
  readonly fromS: number;
  readonly toS: number;
}

function audioWindow({ timescale }: RunTrack, stretches: readonly Stretch[], i: number): Window {
  const beginS = (index: number) => (stretches[index]?.firstPts ?? 0) / timescale;
  return { fromS: i === 0 ? -Infinity : beginS(i), toS: i + 1 < stretches.length ? beginS(i + 1) : Infinity };
}

/** Pictures of a stretch that meet the span, and the samples they need. */
function selectPictures(source: RunTrack, stretch: Stretch, wish: Wish): Pictures | undefined {
  const { items } = source;
  const { cover, first, next, low, high } = placeItems(source, stretch, wish);
  const last = stretch.to - 1;
  const startTick = source.ticksAt(wish.startUtcMs, last);
  const endTick = source.ticksAt(wish.endUtcMs, last);
  // The picture before the first border is still on screen at the border, unless it ends or the next begins there.
  const covered = cover > -Infinity && first > startTick && coverEnd(stretch, first, next) > startTick;
  if (high === -1 && !covered) return undefined;
  const bounds = covered ? including(source, stretch, cover, low, high) : { low, high };
  const shownFrom = covered ? cover : first;
  const sync = syncBefore(source, stretch, bounds.low, shownFrom);
  // With nothing earlier in the file, a stretch that has begun is entered at a sync sample.
  if (sync === undefined || (wish.begin === 'next' && cover > -Infinity)) {
    return fromNextSync(source, stretch, wish);
  }
  const from = wish.begin === 'keyframe' ? ptsAt(items, sync) : shownFrom;
  const to = next === Infinity ? stretch.endPts : next;
  let hidden = 0;
  for (let i = sync; i <= bounds.high; i++) if (ptsAt(items, i) < from) hidden++;
  return {
    selection: { source, from: sync, to: bounds.high + 1 },
    from,
    to,
    cutAtStart: covered || from > stretch.firstPts,
    cutAtEnd: next !== Infinity || endTick < stretch.endPts,
    hidden,
  };
}

/** The items of a stretch by where they begin to be presented: before the span, in it, behind it. */
function placeItems(source: RunTrack, stretch: Stretch, { startUtcMs, endUtcMs }: Span) {
  const { items } = source;
  let cover = -Infinity;
  let first = Infinity;
  let next = Infinity;
  let low = Infinity;
  let high = -1;
  for (let i = stretch.from; i < stretch.to; i++) {
    const pts = ptsAt(items, i);
    // What ends before the run's time 0 is never presented.
    if (pts + (items.duration[i] ?? 0) <= 0) continue;
    if (pts >= source.ticksAt(endUtcMs, i)) {
      next = Math.min(next, pts);
    } else if (pts >= source.ticksAt(startUtcMs, i)) {
      first = Math.min(first, pts);
      low = Math.min(low, i);
      high = i;
    } else {
      cover = Math.max(cover, pts);
    }
  }
  return { cover, first, next, low, high };
}

/** When the picture before the first border goes off the screen. */
function coverEnd(stretch: Stretch, first: number, next: number): number {
  const following = Math.min(first, next);
  return following === Infinity ? stretch.endPts : following;
}

function including({ items }: RunTrack, stretch: Stretch, pts: number, low: number, high: number) {
  for (let i = stretch.from; i < stretch.to; i++) {
    if (ptsAt(items, i) === pts) return { low: Math.min(low, i), high: Math.max(high, i) };
  }
  return { low, high };
}

/** The last sync sample at or before `index` in decode order that is not presented behind `pts` (leading pictures). */
function syncBefore({ items }: RunTrack, stretch: Stretch, index: number, pts: number): number | undefined {
  for (let i = index; i >= stretch.from; i--) if (items.sync[i] === 1 && ptsAt(items, i) <= pts) return i;
  return undefined;
}

/**
 * The pictures from the next sync sample on, if the span reaches it: where the beginning cannot be decoded, or is not
 * wanted. Nothing that is presented before the span comes with it.
 */
function fromNextSync(source: RunTrack, stretch: Stretch, wish: Wish): Pictures | undefined {
  const { items } = source;
  for (let i = stretch.from; i < stretch.to; i++) {
    if (items.sync[i] !== 1) continue;
    const pts = ptsAt(items, i);
    const startUtcMs = source.utcMs(pts, i);
    if (startUtcMs >= wish.endUtcMs) return undefined;
    if (startUtcMs < wish.startUtcMs || (wish.begin === 'next' && leadsInto(source, stretch, i, wish))) continue;
    const chosen = { ...wish, startUtcMs, begin: 'exact' } as const;
    const pictures = selectPictures(source, { ...stretch, from: i, firstPts: pts }, chosen);
    return pictures && { ...pictures, cutAtStart: pictures.cutAtStart || wish.begin === 'next' };
  }
  return undefined;
}

/** Whether pictures behind sync sample `sync` in decode order are presented before the span. */
function leadsInto(source: RunTrack, stretch: Stretch, sync: number, { startUtcMs }: Span): boolean {
  for (let i = sync + 1; i < stretch.to && source.items.sync[i] !== 1; i++) {
    if (ptsAt(source.items, i) < source.ticksAt(startUtcMs, i)) return true;
  }
  return false;
}

function videoPart(
  run: Run,
  source: RunTrack,
  audioTracks: readonly AudioTrack[],
  pictures: Pictures,
  wish: Wish,
  window: Window,
): Part {
  const { timescale } = source;
  const fromS = pictures.from / timescale;
  const endS = pictures.to / timescale;
  const audios = audioTracks.map((track) => selectAudio(track, window, wish, pictures));
  const starts = audios.map((audio) => (audio === undefined ? Infinity : firstInstant(audio, window.fromS)));
  return {
    run,
    video: pictures.selection,
    audios,
    pictures: { from: pictures.from, to: pictures.to },
    originS: pictures.cutAtStart ? fromS : Math.min(fromS, ...starts),
    endS,
    hiddenPictures: pictures.hidden,
    cutAtEnd: pictures.cutAtEnd,
    nothingBefore: wish.begin === 'next',
  };
}

/** Seconds at which the first presented frame of the selection begins; priming is never presented. */
function firstInstant({ source, from }: Selection, notBeforeS: number): number {
  return Math.max(0, notBeforeS, (source.items.dts[from] ?? 0) / source.timescale);
}

/**
 * Audio frames of the window that are presented together with the pictures. Where no picture lies at a border of the
 * span, the audio may begin before the pictures or end behind them, and its own clock decides.
 */
function selectAudio(
  { source, ends }: AudioTrack,
  window: Window,
  wish: Wish,
  pictures: Pictures | undefined,
): Selection | undefined {
  const { items, timescale } = source;
  const ticksOf = (pts: number) =>
    pictures === undefined ? pts : (pts / pictures.selection.source.timescale) * timescale;
  const begin = pictures?.cutAtStart ? ticksOf(pictures.from) : undefined;
  const end = pictures?.cutAtEnd ? ticksOf(pictures.to) : undefined;
  let from = -1;
  let to = -1;
  const notBefore = Math.max(0, window.fromS * timescale + EPSILON_TICKS);
  // An answer may have thousands of windows: none is looked for from the beginning.
  for (let i = lowerBound(items.count, (item) => ends[item] ?? 0, notBefore); i < items.count; i++) {
    const dts = items.dts[i] ?? 0;
    const endDts = dts + (items.duration[i] ?? 0);
    if (endDts <= notBefore) continue;
    if (endDts > window.toS * timescale + EPSILON_TICKS) break;
    const start = begin ?? source.ticksAt(wish.startUtcMs, i);
    // A frame is left out as a whole if nothing that begins earlier may be in the file.
    if (endDts <= start + EPSILON_TICKS || (wish.begin === 'next' && dts < start - EPSILON_TICKS)) continue;
    if (dts >= (end ?? source.ticksAt(wish.endUtcMs, i)) - EPSILON_TICKS) continue;
    if (from === -1) from = i;
    to = i + 1;
  }
  return from === -1 ? undefined : { source, from, to };
}

function audioPart(run: Run, tracks: readonly AudioTrack[], wish: Wish, window: Window): Part | undefined {
  const audios = tracks.map((track) => selectAudio(track, window, wish, undefined));
  const present = audios.filter((audio) => audio !== undefined);
  if (present.length === 0) return undefined;
  return {
    run,
    video: undefined,
    audios,
    pictures: undefined,
    originS: Math.min(...present.map((audio) => firstInstant(audio, -Infinity))),
    endS: Math.max(...present.map(endInstant)),
    hiddenPictures: 0,
    cutAtEnd: false,
    nothingBefore: wish.begin === 'next',
  };
}

function endInstant({ source, to }: Selection): number {
  return ((source.items.dts[to - 1] ?? 0) + (source.items.duration[to - 1] ?? 0)) / source.timescale;
}

/**
 * A part at its place in the answer. An answer of which nothing earlier may be in the file begins with the pictures of
 * its first part. Parts that are not at the answer's ends cannot hide anything: one that would begin inside a GOP begins
 * with the GOP, and one that would end with hidden reference pictures shows them.
 */
export function placed(part: Part, hasForerunner: boolean, hasSuccessor: boolean): Part {
  return showInside(hasForerunner ? part : beginBare(part), hasForerunner, hasSuccessor);
}

function beginBare(part: Part): Part {
  const { video, pictures, nothingBefore } = part;
  if (!nothingBefore || video === undefined || pictures === undefined) return part;
  const originS = pictures.from / video.source.timescale;
  return { ...part, originS, audios: part.audios.map((audio) => audio && beginningAt(audio, originS)) };
}

/** The frames that do not begin before an instant of the run. */
function beginningAt({ source, from, to }: Selection, instantS: number): Selection | undefined {
  const ticks = instantS * source.timescale - EPSILON_TICKS;
  let first = from;
  while (first < to && (source.items.dts[first] ?? 0) < ticks) first++;
  return first === to ? undefined : { source, from: first, to };
}

function showInside(part: Part, hasForerunner: boolean, hasSuccessor: boolean): Part {
  const { video, pictures } = part;
  if (video === undefined || pictures === undefined) return part;
  const { items, timescale } = video.source;
  let from = pictures.from;
  let to = pictures.to;
  if (hasForerunner && part.hiddenPictures > 0) {
    for (let i = video.from; i < video.to; i++) from = Math.min(from, ptsAt(items, i));
  }
  if (hasSuccessor && part.cutAtEnd) {
    for (let i = video.from; i < video.to; i++) to = Math.max(to, ptsAt(items, i) + (items.duration[i] ?? 0));
  }
  if (from === pictures.from && to === pictures.to) return part;
  const originS = Math.min(part.originS, from / timescale);
  return {
    ...part,
    pictures: { from, to },
    originS,
    endS: to / timescale,
    hiddenPictures: from === pictures.from ? part.hiddenPictures : 0,
  };
}
