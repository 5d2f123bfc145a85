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
  /** By rank. */
  readonly audios: readonly (readonly Sample[])[];
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

export function selectParts(runs: readonly Run[], asked: Request): Part[] {
  // Sync samples alone hide nothing.
  const request = asked.keyframes === true ? { begin: 'keyframe' as const, ...asked } : asked;
  const ordered = runs.toSorted((a, b) => startOf(a) - startOf(b));
  const wanted = ordered.map((run) => wantedOf(run, request)).filter((run) => run !== undefined);
  const parts = wanted.flatMap((run) => partsOf(run, request));
  return parts.map((part, i) => showInside(i === 0 ? beginBare(part) : part, i > 0, i + 1 < parts.length));
}

const filled = (line: Line | undefined) => (line !== undefined && line.samples.length > 0 ? line : undefined);

/** The run as far as the request wants it; undefined if nothing is left. */
function wantedOf(run: Run, { tracks, keyframes }: Request): Run | undefined {
  const video = tracks === 'audio' ? undefined : filled(run.video);
  const audios = tracks === 'video' || keyframes === true ? [] : run.audios.map(filled);
  if (video === undefined && audios.every((line) => line === undefined)) return undefined;
  return { ...run, video, audios };
}

function partsOf(run: Run, request: Request): Part[] {
  const { video } = run;
  if (video === undefined) return soundParts(run, request);
  const stretches = stretchesOf(video.samples);
  const begins = stretches.map((stretch) => flicks(video, beginOf(stretch)));
  return stretches.flatMap((stretch, i): Part[] => {
    const window = { from: i === 0 ? -Infinity : (begins[i] ?? 0), to: begins[i + 1] ?? Infinity };
    const pictures = picturesOf(run, video, stretch, request);
    if (pictures !== undefined) return [picturePart(run, video, pictures, request, window)];
    // The range may meet only the sound in front of the first picture or behind the last.
    const sound = soundPart(run, request, window);
    return sound.map((part) => ({ ...part, inHole: i + 1 < stretches.length }));
  });
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
}

function picturesOf(run: Run, line: Line, stretch: readonly Sample[], request: Request): Pictures | undefined {
  const all = onScreen(stretch);
  const tick = (utcMs: number, { sample }: Shown) => tickOf(run, line, utcMs, sample);
  const meets = (one: Shown) => one.from < tick(request.endUtcMs, one) && one.to > tick(request.startUtcMs, one);
  const shown = all.filter(meets);
  const [begin, end] = [shown[0], shown.at(-1)];
  if (begin === undefined || end === undefined) return undefined;
  const begun = all.some((one) => one.from < tick(request.startUtcMs, one));
  if (request.begin === 'next' && begun) return fromNextSync(run, line, stretch, request);
  const presented = new Set(shown.map(({ sample }) => sample));
  const low = stretch.findIndex((sample) => presented.has(sample));
  const high = stretch.findLastIndex((sample) => presented.has(sample));
  const sync = stretch.slice(0, low + 1).findLastIndex((sample) => sample.sync && pts(sample) <= begin.from);
  if (sync === -1) return fromNextSync(run, line, stretch, request);
  const samples = stretch.slice(sync, high + 1);
  const from = request.begin === 'keyframe' ? pts(samples[0] ?? begin.sample) : begin.from;
  return {
    samples,
    from,
    to: end.to,
    cutAtStart: from > (all[0]?.from ?? 0) || tick(request.startUtcMs, begin) > begin.from,
    cutAtEnd: end !== all.at(-1) || tick(request.endUtcMs, end) < end.to,
  };
}

/**
 * From the first sync sample on that is presented inside the range: because nothing before it can be decoded, or because
 * nothing that is presented before the range may be in the file. Leading pictures cannot be left out but are hidden.
 */
function fromNextSync(run: Run, line: Line, stretch: readonly Sample[], request: Request): Pictures | undefined {
  const bare = request.begin === 'next';
  const begins = (sample: Sample) => utcOf(run, line, pts(sample), sample);
  const at = stretch.findIndex((sample, i) => {
    if (!sample.sync || begins(sample) < request.startUtcMs || begins(sample) >= request.endUtcMs) return false;
    const gop = stretch.slice(i + 1);
    const followers = gop.slice(0, gop.findIndex((one) => one.sync) >>> 0);
    return !bare || followers.every((one) => pts(one) >= tickOf(run, line, request.startUtcMs, one));
  });
  const sync = stretch[at];
  if (sync === undefined) return undefined;
  const rest = stretch.slice(at);
  const all = onScreen(rest).filter(({ from }) => from >= pts(sync));
  const shown = all.filter((one) => one.from < tickOf(run, line, request.endUtcMs, one.sample));
  const end = shown.at(-1);
  if (end === undefined) return undefined;
  const presented = new Set(shown.map(({ sample }) => sample));
  const high = rest.findLastIndex((sample) => presented.has(sample));
  const cutAtEnd = end !== all.at(-1) || tickOf(run, line, request.endUtcMs, end.sample) < end.to;
  return { samples: rest.slice(0, high + 1), from: pts(sync), to: end.to, cutAtStart: bare, cutAtEnd };
}

/** Flicks of a run. */
interface Window {
  readonly from: number;
  readonly to: number;
}

function picturePart(run: Run, line: Line, pictures: Pictures, request: Request, window: Window): Part {
  const { cutAtStart, cutAtEnd, samples } = pictures;
  const [from, end] = [flicks(line, pictures.from), flicks(line, pictures.to)];
  const limits = { from: cutAtStart ? from : undefined, to: cutAtEnd ? end : undefined };
  const audios = run.audios.map((audio) => soundOf(run, audio, { request, limits, window }));
  const begins = audios.map((frames, rank) => Math.max(window.from, soundBegin(run.audios[rank], frames)));
  const origin = cutAtStart ? from : Math.min(from, ...begins);
  return {
    ...{ run, video: samples, audios, pictures: { from, to: end }, origin, end, cutAtEnd, inHole: false },
    bare: request.begin === 'next',
    hidden: samples.filter((sample) => pts(sample) < pictures.from).length,
    startUtcMs: utcAt(run, line, samples[0], Math.min(origin, from)),
  };
}

/** When the first of the frames begins to be presented. */
function soundBegin(line: Line | undefined, [first]: readonly Sample[]): number {
  return line === undefined || first === undefined ? Infinity : flicks(line, firstTick(line, first));
}

function soundEnd(line: Line | undefined, frames: readonly Sample[]): number {
  const last = frames.at(-1);
  return line === undefined || last === undefined ? -Infinity : flicks(line, endDts(last));
}

function utcAt(run: Run, line: Line, sample: Sample | undefined, at: number): number {
  if (sample === undefined) throw new Error('a part has samples');
  return utcOf(run, line, ticks(line.timescale, at), sample);
}

interface SoundLimits {
  readonly request: Request;
  /** A frame over a border goes with what is behind it. */
  readonly window: Window;
  /** Where a picture lies at the border of the range; where none does, the range itself is the limit. */
  readonly limits: { readonly from: number | undefined; readonly to: number | undefined };
}

/** All frames from the first to the last one that is presented. */
function soundOf(run: Run, line: Line | undefined, within: SoundLimits): readonly Sample[] {
  if (line === undefined) return [];
  const { request, window, limits } = within;
  const border = (utcMs: number, frame: Sample) => flicks(line, tickOf(run, line, utcMs, frame));
  const wanted = (frame: Sample) => {
    const [begin, end] = [flicks(line, frame.dts), flicks(line, endDts(frame))];
    const start = limits.from ?? border(request.startUtcMs, frame);
    const inWindow = !isHidden(frame) && end > window.from && end <= window.to;
    // A frame is left out as a whole if nothing that begins earlier may be in the file.
    const late = request.begin !== 'next' || begin >= start;
    return inWindow && late && end > start && begin < (limits.to ?? border(request.endUtcMs, frame));
  };
  const first = line.samples.findIndex(wanted);
  return first === -1 ? [] : line.samples.slice(first, line.samples.findLastIndex(wanted) + 1);
}

/** Without video each pause of the first sound begins a new part. */
function soundParts(run: Run, request: Request): Part[] {
  const leading = run.audios.find((line) => line !== undefined);
  if (leading === undefined) return [];
  const begins = stretchesOf(leading.samples).map(([first]) => flicks(leading, first?.dts ?? 0));
  return begins.flatMap((begin, i) => {
    return soundPart(run, request, { from: i === 0 ? -Infinity : begin, to: begins[i + 1] ?? Infinity });
  });
}

function soundPart(run: Run, request: Request, window: Window): Part[] {
  const limits = { from: undefined, to: undefined };
  const audios = run.audios.map((line) => soundOf(run, line, { request, window, limits }));
  if (audios.every((frames) => frames.length === 0)) return [];
  const begins = audios.map((frames, rank) => soundBegin(run.audios[rank], frames));
  const origin = Math.min(...begins);
  const line = run.audios[begins.indexOf(origin)];
  if (line === undefined) throw new Error('sound has a line');
  const end = Math.max(...audios.map((frames, rank) => soundEnd(run.audios[rank], frames)));
  const startUtcMs = utcAt(run, line, audios[begins.indexOf(origin)]?.[0], origin);
  const none = { video: [], pictures: undefined, hidden: 0, cutAtEnd: false, inHole: false };
  return [{ ...none, run, audios, origin, end, startUtcMs, bare: request.begin === 'next' }];
}

/** An answer of which nothing earlier may be in the file begins with pictures, if it has any. */
function beginBare(part: Part): Part {
  const { pictures, run } = part;
  if (!part.bare || pictures === undefined) return part;
  const audios = part.audios.map((frames, rank) => {
    const line = run.audios[rank];
    return frames.filter((frame) => line !== undefined && flicks(line, frame.dts) >= pictures.from);
  });
  return { ...part, audios, origin: pictures.from };
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
    startUtcMs: utcAt(part.run, line, video[0], Math.min(part.origin, from)),
    end: to,
    hidden: from < pictures.from ? 0 : hidden,
  };
}
