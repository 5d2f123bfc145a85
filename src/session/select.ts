/**
 * What of a run is in a range [start, end) of wall time: which pictures are presented, which samples decoding needs
 * besides, and the audio that goes with them (design, "What is in a range").
 *
 * A sample is presented if its presentation interval meets the range. Borders lie on borders of presented pictures (of
 * audio frames where there is no video), for both tracks at the same instant.
 */
import { ptsAt } from '../segment/summary.ts';
import { leadingTrack, type Run, type RunTrack, type Stretch, stretchesOf } from './run.ts';

/** A span of wall time, Unix ms, end exclusive. */
export interface Span {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
}

/** Samples [from, to) of a track, in decode order. */
export interface Selection {
  readonly source: RunTrack;
  readonly from: number;
  readonly to: number;
}

/** A continuous piece of an answer, from one run. Times are seconds of the run's timeline unless they are ticks. */
export interface Part {
  readonly run: Run;
  readonly video: Selection | undefined;
  readonly audio: Selection | undefined;
  /** Presented pictures, in ticks of the video: first presentation time and end. */
  readonly pictures: { readonly from: number; readonly to: number } | undefined;
  /** The first presented instant of the part, over both tracks; seconds. */
  readonly originS: number;
  /** Where the next part joins: end of the pictures, of the audio if there are none; seconds. */
  readonly endS: number;
  /** Pictures before the first presented one that decoding needs. */
  readonly hiddenPictures: number;
  /** The range ends inside the part: tracks end together. */
  readonly cutAtEnd: boolean;
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
export function selectRun(run: Run, span: Span): Part[] {
  const leading = leadingTrack(run);
  if (leading === undefined) return [];
  const audio = run.tracks.find(({ track, samples }) => track.kind === 'audio' && samples.count > 0);
  const stretches = stretchesOf(leading);
  if (leading.track.kind === 'audio') {
    return stretches.flatMap((stretch) => audioPart(run, leading, span, stretch) ?? []);
  }
  return stretches.flatMap((stretch, i) => {
    const window = audioWindow(leading, stretches, i);
    const pictures = selectPictures(leading, stretch, span);
    if (pictures !== undefined) return [videoPart(run, leading, audio, pictures, span, window)];
    // A range may meet only the audio before the first or behind the last picture.
    return audio === undefined ? [] : (audioPart(run, audio, span, window) ?? []);
  });
}

/** Run time in seconds whose audio belongs to stretch `i` of the video. */
interface Window {
  readonly fromS: number;
  readonly toS: number;
}

function audioWindow({ track }: RunTrack, stretches: readonly Stretch[], i: number): Window {
  const beginS = (index: number) => (stretches[index]?.firstPts ?? 0) / track.timescale;
  return { fromS: i === 0 ? -Infinity : beginS(i), toS: i + 1 < stretches.length ? beginS(i + 1) : Infinity };
}

/** Pictures of a stretch that meet the span, and the samples they need. */
function selectPictures(source: RunTrack, stretch: Stretch, span: Span): Pictures | undefined {
  const { samples, clock } = source;
  let cover = -Infinity;
  let first = Infinity;
  let next = Infinity;
  let low = Infinity;
  let high = -1;
  for (let i = stretch.from; i < stretch.to; i++) {
    const dts = samples.dts[i] ?? 0;
    const pts = ptsAt(samples, i);
    if (pts >= clock.ticksAt(span.endUtcMs, dts)) {
      next = Math.min(next, pts);
    } else if (pts >= clock.ticksAt(span.startUtcMs, dts)) {
      first = Math.min(first, pts);
      low = Math.min(low, i);
      high = i;
    } else {
      cover = Math.max(cover, pts);
    }
  }
  const startTick = clock.ticksAt(span.startUtcMs, samples.dts[stretch.to - 1] ?? 0);
  const endTick = clock.ticksAt(span.endUtcMs, samples.dts[stretch.to - 1] ?? 0);
  // The picture before the first border is still on screen at the border, unless it ends or the next begins there.
  const covered = cover > -Infinity && first > startTick && coverEnd(stretch, first, next) > startTick;
  if (high === -1 && !covered) return undefined;
  const from = covered ? cover : first;
  const bounds = covered ? including(source, stretch, cover, low, high) : { low, high };
  const sync = syncBefore(source, stretch, bounds.low, from);
  if (sync === undefined) return fromNextSync(source, stretch, span);
  const to = next === Infinity ? stretch.endPts : next;
  let hidden = 0;
  for (let i = sync; i <= bounds.high; i++) if (ptsAt(samples, i) < from) hidden++;
  return {
    selection: { source, from: sync, to: bounds.high + 1 },
    from,
    to,
    cutAtStart: covered || from > stretch.firstPts,
    cutAtEnd: next !== Infinity || endTick < stretch.endPts,
    hidden,
  };
}

/** When the picture before the first border goes off the screen. */
function coverEnd(stretch: Stretch, first: number, next: number): number {
  const following = Math.min(first, next);
  return following === Infinity ? stretch.endPts : following;
}

function including({ samples }: RunTrack, stretch: Stretch, pts: number, low: number, high: number) {
  for (let i = stretch.from; i < stretch.to; i++) {
    if (ptsAt(samples, i) === pts) return { low: Math.min(low, i), high: Math.max(high, i) };
  }
  return { low, high };
}

/** The last sync sample at or before `index` in decode order that is not presented behind `pts` (leading pictures). */
function syncBefore({ samples }: RunTrack, stretch: Stretch, index: number, pts: number): number | undefined {
  for (let i = index; i >= stretch.from; i--) if (samples.sync[i] === 1 && ptsAt(samples, i) <= pts) return i;
  return undefined;
}

/** Where the beginning cannot be decoded: the pictures from the next sync sample on, if the span reaches it. */
function fromNextSync(source: RunTrack, stretch: Stretch, span: Span): Pictures | undefined {
  const { samples } = source;
  for (let i = stretch.from; i < stretch.to; i++) {
    if (samples.sync[i] !== 1) continue;
    const pts = ptsAt(samples, i);
    const startUtcMs = source.clock.utcMs(pts, samples.dts[i] ?? 0);
    if (startUtcMs >= span.endUtcMs) return undefined;
    if (startUtcMs < span.startUtcMs) continue;
    return selectPictures(source, { ...stretch, from: i, firstPts: pts }, { ...span, startUtcMs });
  }
  return undefined;
}

function videoPart(
  run: Run,
  source: RunTrack,
  audioTrack: RunTrack | undefined,
  pictures: Pictures,
  span: Span,
  window: Window,
): Part {
  const { timescale } = source.track;
  const fromS = pictures.from / timescale;
  const endS = pictures.to / timescale;
  // Without a picture at the border, the audio may begin before the pictures or end behind them.
  const audioFromS = pictures.cutAtStart ? fromS : -Infinity;
  const audioToS = pictures.cutAtEnd ? endS : Infinity;
  const limits = { fromS: Math.max(window.fromS, audioFromS), toS: Math.min(window.toS, audioToS) };
  const audio = audioTrack && selectAudio(audioTrack, limits, span, pictures);
  const audioStart = audio && audioTrack ? firstInstant(audioTrack, audio, limits.fromS) : Infinity;
  return {
    run,
    video: pictures.selection,
    audio,
    pictures: { from: pictures.from, to: pictures.to },
    originS: pictures.cutAtStart ? fromS : Math.min(fromS, audioStart),
    endS,
    hiddenPictures: pictures.hidden,
    cutAtEnd: pictures.cutAtEnd,
  };
}

/** Seconds at which the first presented frame of the selection begins; priming is never presented. */
function firstInstant({ samples, track }: RunTrack, { from }: Selection, notBeforeS: number): number {
  return Math.max(0, notBeforeS, (samples.dts[from] ?? 0) / track.timescale);
}

/** Audio frames that meet the limits; where these are open, the span decides by the audio's own clock. */
function selectAudio(
  source: RunTrack,
  limits: Window,
  span: Span,
  cut: { readonly cutAtStart: boolean; readonly cutAtEnd: boolean },
): Selection | undefined {
  const { samples, track, clock } = source;
  const fromTicks = limits.fromS * track.timescale;
  const toTicks = limits.toS * track.timescale;
  let from = -1;
  let to = -1;
  for (let i = 0; i < samples.count; i++) {
    const dts = samples.dts[i] ?? 0;
    const end = dts + (samples.duration[i] ?? 0);
    if (end <= 0 || end <= fromTicks + EPSILON_TICKS || dts >= toTicks - EPSILON_TICKS) continue;
    if (!cut.cutAtStart && end <= clock.ticksAt(span.startUtcMs, dts)) continue;
    if (!cut.cutAtEnd && dts >= clock.ticksAt(span.endUtcMs, dts)) continue;
    if (from === -1) from = i;
    to = i + 1;
  }
  return from === -1 ? undefined : { source, from, to };
}

function audioPart(run: Run, source: RunTrack, span: Span, within: Stretch | Window): Part | undefined {
  const { timescale } = source.track;
  const limits = 'fromS' in within ? within : { fromS: within.firstPts / timescale, toS: within.endPts / timescale };
  const audio = selectAudio(source, limits, span, { cutAtStart: false, cutAtEnd: false });
  if (audio === undefined) return undefined;
  const last = audio.to - 1;
  return {
    run,
    video: undefined,
    audio,
    pictures: undefined,
    originS: firstInstant(source, audio, -Infinity),
    endS: ((source.samples.dts[last] ?? 0) + (source.samples.duration[last] ?? 0)) / timescale,
    hiddenPictures: 0,
    cutAtEnd: false,
  };
}

/**
 * Parts that are not at the answer's ends cannot hide anything: one that would begin inside a GOP begins with the GOP,
 * and one that would end with hidden reference pictures shows them.
 */
export function showInside(part: Part, hasForerunner: boolean, hasSuccessor: boolean): Part {
  const { video, pictures } = part;
  if (video === undefined || pictures === undefined) return part;
  const { samples, track } = video.source;
  let from = pictures.from;
  let to = pictures.to;
  if (hasForerunner && part.hiddenPictures > 0) {
    for (let i = video.from; i < video.to; i++) from = Math.min(from, ptsAt(samples, i));
  }
  if (hasSuccessor && part.cutAtEnd) {
    for (let i = video.from; i < video.to; i++) to = Math.max(to, ptsAt(samples, i) + (samples.duration[i] ?? 0));
  }
  if (from === pictures.from && to === pictures.to) return part;
  const originS = Math.min(part.originS, from / track.timescale);
  return {
    ...part,
    pictures: { from, to },
    originS,
    endS: to / track.timescale,
    hiddenPictures: from === pictures.from ? part.hiddenPictures : 0,
  };
}
