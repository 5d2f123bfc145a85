/**
 * The model, first half: which samples of each run belong to an answer. Sample by sample, with no thought of cost.
 *
 * The rules: a sample is presented if its presentation interval meets the range. A picture is on screen until the next
 * one. Decoding needs everything from a sync sample on that is not presented later than the first picture. Sound goes
 * with the pictures, and by its own time where the range reaches beyond them.
 */
import {
  endDts,
  endPts,
  firstTick,
  flicks,
  isHidden,
  type Line,
  pts,
  type Run,
  type Sample,
  startOf,
  stretchesOf,
  ticks,
  tickOf,
  utcOf,
} from './footage.ts';

/** What may be asked besides a range, as `archive.session` takes it. */
export interface Options {
  /** Default `collapse`. */
  readonly gaps?: 'collapse' | 'freeze';
  /** Only this kind; default both. */
  readonly tracks?: 'video' | 'audio';
  /** Default `exact`. */
  readonly begin?: 'exact' | 'keyframe' | 'next';
  /** Sync samples of the video alone, `speed` times as fast. */
  readonly keyframes?: true;
  readonly speed?: number;
}

export interface Request extends Options {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
}

/** A continuous piece of an answer, from one run. Times are flicks of the run unless they say otherwise. */
export interface Part {
  readonly run: Run;
  readonly video: readonly Sample[];
  readonly audio: readonly Sample[];
  /** The first and the last instant of pictures presented; undefined without pictures. */
  readonly pictures: { readonly from: number; readonly to: number } | undefined;
  /** What becomes the part's time 0. */
  readonly origin: number;
  /** Where the next part joins. */
  readonly end: number;
  /** Pictures that are decoded and not presented before the first one that is. */
  readonly hidden: number;
  /** The range ends inside the pictures: sound ends with them. */
  readonly cutAtEnd: boolean;
  /** Nothing may be in the file before the first instant presented. */
  readonly bare: boolean;
  readonly startUtcMs: number;
  /** Sound in front of the pictures behind a hole in a run: whether it is a part of its own, no rule says. */
  readonly inHole: boolean;
}

export function selectParts(runs: readonly Run[], request: Request): Part[] {
  const wanted = runs.map((run) => wantedOf(run, request)).filter((run) => run !== undefined);
  const ordered = wanted.toSorted((a, b) => startOf(a) - startOf(b));
  const parts: Part[] = [];
  for (const run of ordered) parts.push(...partsOf(run, request, parts.length === 0));
  return parts.map((part, i) => showInside(part, i > 0, i + 1 < parts.length));
}

const filled = (line: Line | undefined) => (line !== undefined && line.samples.length > 0 ? line : undefined);

/** The run as far as the request wants it; undefined if nothing is left. */
function wantedOf(run: Run, { tracks, keyframes }: Request): Run | undefined {
  const video = tracks === 'audio' ? undefined : filled(run.video);
  const audio = tracks === 'video' || keyframes === true ? undefined : filled(run.audio);
  if (video === undefined && audio === undefined) return undefined;
  if (keyframes !== true || video === undefined) return { ...run, video, audio };
  return { ...run, video: { ...video, samples: keyframesOf(video.samples) }, audio };
}

/** Sync samples alone, decoded when they are presented; each lasts until the next one. */
function keyframesOf(samples: readonly Sample[]): Sample[] {
  return stretchesOf(samples).flatMap((stretch) => {
    const end = Math.max(...stretch.map(endPts));
    const syncs = stretch.filter((sample) => sample.sync).toSorted((a, b) => pts(a) - pts(b));
    return syncs.map((sample, i): Sample => {
      const next = syncs[i + 1];
      const duration = (next === undefined ? end : pts(next)) - pts(sample);
      return { ...sample, dts: pts(sample), compositionOffset: 0, duration };
    });
  });
}

function partsOf(run: Run, request: Request, first: boolean): Part[] {
  const { video, audio } = run;
  if (video === undefined) return audio === undefined ? [] : soundParts(run, audio, request);
  const stretches = stretchesOf(video.samples);
  const begins = stretches.map((stretch) => flicks(video, beginOf(stretch)));
  const parts: Part[] = [];
  stretches.forEach((stretch, i) => {
    const window = { from: i === 0 ? -Infinity : (begins[i] ?? 0), to: begins[i + 1] ?? Infinity };
    const pictures = picturesOf(run, video, stretch, request, first && parts.length === 0);
    if (pictures !== undefined) parts.push(picturePart(run, video, pictures, request, window));
    // The range may meet only the sound in front of the first picture or behind the last.
    else if (audio !== undefined) {
      const sound = soundPart(run, audio, audio.samples, request, window);
      parts.push(...sound.map((part) => ({ ...part, inHole: i + 1 < stretches.length })));
    }
  });
  return parts;
}

function beginOf(stretch: readonly Sample[]): number {
  return Math.min(...stretch.filter((sample) => !isHidden(sample)).map(pts));
}

interface Shown {
  readonly sample: Sample;
  /** On screen in [from, to), ticks. */
  readonly from: number;
  readonly to: number;
}

/** The pictures of a stretch in the order of presentation: each is on screen until the next. */
function onScreen(stretch: readonly Sample[]): Shown[] {
  const end = Math.max(...stretch.map(endPts));
  const ordered = stretch.filter((sample) => !isHidden(sample)).toSorted((a, b) => pts(a) - pts(b));
  return ordered.map((sample, i) => {
    const next = ordered[i + 1];
    return { sample, from: pts(sample), to: next === undefined ? end : pts(next) };
  });
}

interface Pictures {
  /** In decode order, those that are only decoded included. */
  readonly samples: readonly Sample[];
  readonly from: number;
  readonly to: number;
  readonly cutAtStart: boolean;
  readonly cutAtEnd: boolean;
  readonly bare: boolean;
}

function picturesOf(
  run: Run,
  line: Line,
  stretch: readonly Sample[],
  request: Request,
  first: boolean,
): Pictures | undefined {
  const all = onScreen(stretch);
  const tick = (utcMs: number, { sample }: Shown) => tickOf(run, line, utcMs, sample);
  const meets = (one: Shown) => one.from < tick(request.endUtcMs, one) && one.to > tick(request.startUtcMs, one);
  const shown = all.filter(meets);
  const [begin, end] = [shown[0], shown.at(-1)];
  if (begin === undefined || end === undefined) return undefined;
  if (request.begin === 'next' && first) return fromNextSync(run, line, stretch, request, true);
  const presented = new Set(shown.map(({ sample }) => sample));
  const low = stretch.findIndex((sample) => presented.has(sample));
  const high = stretch.findLastIndex((sample) => presented.has(sample));
  const sync = stretch.slice(0, low + 1).findLastIndex((sample) => sample.sync && pts(sample) <= begin.from);
  if (sync === -1) return fromNextSync(run, line, stretch, request, false);
  const samples = stretch.slice(sync, high + 1);
  return {
    samples,
    from: request.begin === 'keyframe' && first ? pts(samples[0] ?? begin.sample) : begin.from,
    to: end.to,
    cutAtStart: begin !== all[0] || tick(request.startUtcMs, begin) > begin.from,
    cutAtEnd: end !== all.at(-1) || tick(request.endUtcMs, end) < end.to,
    bare: false,
  };
}

/**
 * From the first sync sample that is presented inside the range on. `bare`: because the request wants it so; otherwise
 * because nothing before it can be decoded, and then its leading pictures cannot be left out but are hidden.
 */
function fromNextSync(
  run: Run,
  line: Line,
  stretch: readonly Sample[],
  request: Request,
  bare: boolean,
): Pictures | undefined {
  const inside = (sample: Sample) => {
    const utcMs = utcOf(run, line, pts(sample), sample);
    return utcMs >= request.startUtcMs && utcMs < request.endUtcMs;
  };
  const at = stretch.findIndex((sample) => sample.sync && inside(sample));
  const sync = stretch[at];
  if (sync === undefined) return undefined;
  const rest = stretch.slice(at).filter((sample) => !bare || pts(sample) >= pts(sync));
  const all = onScreen(rest).filter(({ from }) => from >= pts(sync));
  const shown = all.filter((one) => one.from < tickOf(run, line, request.endUtcMs, one.sample));
  const end = shown.at(-1);
  if (end === undefined) return undefined;
  const presented = new Set(shown.map(({ sample }) => sample));
  const high = rest.findLastIndex((sample) => presented.has(sample));
  const cutAtEnd = end !== all.at(-1) || tickOf(run, line, request.endUtcMs, end.sample) < end.to;
  return { samples: rest.slice(0, high + 1), from: pts(sync), to: end.to, cutAtStart: bare, cutAtEnd, bare };
}

/** Flicks of a run. */
interface Window {
  readonly from: number;
  readonly to: number;
}

function picturePart(run: Run, line: Line, pictures: Pictures, request: Request, window: Window): Part {
  const { cutAtStart, cutAtEnd, samples, bare } = pictures;
  const [from, end] = [flicks(line, pictures.from), flicks(line, pictures.to)];
  const limits = {
    from: Math.max(window.from, cutAtStart ? from : -Infinity),
    to: Math.min(window.to, cutAtEnd ? end : Infinity),
  };
  const { audio } = run;
  const sound =
    audio === undefined ? [] : soundOf(run, audio, audio.samples, { request, limits, cutAtStart, cutAtEnd });
  const [firstSound] = sound;
  const soundFrom =
    audio === undefined || firstSound === undefined
      ? Infinity
      : Math.max(limits.from, flicks(audio, firstTick(audio, firstSound)));
  const origin = cutAtStart ? from : Math.min(from, soundFrom);
  return {
    ...{ run, video: samples, audio: sound, pictures: { from, to: end }, origin, end, cutAtEnd, bare, inHole: false },
    hidden: samples.filter((sample) => pts(sample) < pictures.from).length,
    startUtcMs: utcAt(run, line, samples[0], Math.min(origin, from)),
  };
}

function utcAt(run: Run, line: Line, sample: Sample | undefined, at: number): number {
  if (sample === undefined) throw new Error('a part has samples');
  return utcOf(run, line, ticks(line.timescale, at), sample);
}

interface SoundLimits {
  readonly request: Request;
  readonly limits: Window;
  /** Whether a picture lies at the border; where none does, the range itself is the limit. */
  readonly cutAtStart: boolean;
  readonly cutAtEnd: boolean;
}

/** All frames from the first to the last one that is presented. */
function soundOf(run: Run, line: Line, frames: readonly Sample[], within: SoundLimits): Sample[] {
  const { request, limits, cutAtStart, cutAtEnd } = within;
  const meets = (frame: Sample) =>
    !isHidden(frame) &&
    flicks(line, endDts(frame)) > limits.from &&
    flicks(line, frame.dts) < limits.to &&
    (cutAtStart || endDts(frame) > tickOf(run, line, request.startUtcMs, frame)) &&
    (cutAtEnd || frame.dts < tickOf(run, line, request.endUtcMs, frame));
  const first = frames.findIndex(meets);
  return first === -1 ? [] : frames.slice(first, frames.findLastIndex(meets) + 1);
}

const EVERYTHING: Window = { from: -Infinity, to: Infinity };

/** Without video each pause begins a new part. */
function soundParts(run: Run, line: Line, request: Request): Part[] {
  return stretchesOf(line.samples).flatMap((frames) => soundPart(run, line, frames, request, EVERYTHING));
}

function soundPart(run: Run, line: Line, frames: readonly Sample[], request: Request, limits: Window): Part[] {
  const audio = soundOf(run, line, frames, { request, limits, cutAtStart: false, cutAtEnd: false });
  const [first, last] = [audio[0], audio.at(-1)];
  if (first === undefined || last === undefined) return [];
  const origin = flicks(line, firstTick(line, first));
  const end = flicks(line, endDts(last));
  const startUtcMs = utcAt(run, line, first, origin);
  const none = {
    video: [],
    pictures: undefined,
    hidden: 0,
    cutAtEnd: false,
    bare: request.begin === 'next',
    inHole: false,
  };
  return [{ ...none, run, audio, origin, end, startUtcMs }];
}

/** Only the ends of an answer can hide pictures: inside, what decoding needs is presented. */
function showInside(part: Part, hasForerunner: boolean, hasSuccessor: boolean): Part {
  const line = part.run.video;
  if (line === undefined || part.pictures === undefined) return part;
  const { pictures, video, hidden } = part;
  const earliest = flicks(line, Math.min(...video.map(pts)));
  const latest = flicks(line, Math.max(...video.map(endPts)));
  const from = hasForerunner ? Math.min(pictures.from, earliest) : pictures.from;
  const to = hasSuccessor && part.cutAtEnd ? Math.max(pictures.to, latest) : pictures.to;
  return {
    ...part,
    pictures: { from, to },
    origin: Math.min(part.origin, from),
    end: to,
    hidden: from < pictures.from ? 0 : hidden,
  };
}
