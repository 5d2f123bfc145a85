/**
 * Random recordings for the property tests: what a source gives the recorder, and what of it an archive then holds.
 * Segments are short, so that most ranges meet several.
 */
import * as fc from 'fast-check';
import type { Anchor, Line, Run, Sample } from './footage.ts';

export interface VideoSpec {
  readonly format: (typeof VIDEO_FORMATS)[number];
  /** How many lengths of the format one picture lasts. */
  readonly pace: number;
  /** Pictures of each GOP. */
  readonly gops: readonly number[];
  readonly order: keyof typeof ORDERS;
  /** Composition offsets are moved so that pictures are presented about when they are decoded. */
  readonly negativeOffsets: boolean;
  /** Share of its length by which a picture's time varies. */
  readonly jitter: number;
  /** Length of the last picture as the source tells it, in lengths of the others; 0: it does not tell. */
  readonly last: number;
  readonly width: number;
  /** Large pictures cut segments in the middle of GOPs. */
  readonly large: boolean;
}

export interface AudioSpec {
  readonly ownTimescale: boolean;
  /** Frames before time 0; undefined: the sound begins `beginMs` after the first picture. */
  readonly priming: number | undefined;
  readonly beginMs: number;
  /** How much later than the pictures the sound ends. */
  readonly tailMs: number;
  /** Behind that share of the frames nothing comes for that many frames. */
  readonly pauses: readonly { readonly at: number; readonly frames: number }[];
  readonly last: number;
  readonly told: boolean;
  /** How much later than the pictures of its time the sound comes in. */
  readonly lateMs: number;
}

export interface RecordingSpec {
  readonly video: VideoSpec | undefined;
  readonly audios: readonly AudioSpec[];
  /** A second video, which no answer may hold. */
  readonly extra: boolean;
  readonly audioFirst: boolean;
  /** Begin of the recording against the end of the one before. */
  readonly gapMs: number;
  /** Media time at which the recording begins. */
  readonly baseMs: number;
  /** Frames carry their wall time. */
  readonly stamped: boolean;
  readonly segmentMs: number;
  readonly seed: number;
}

export interface ArchiveSpec {
  readonly sampleRate: 44_100 | 48_000;
  readonly recordings: readonly RecordingSpec[];
  /** The last recording is looked at while this share of its frames has come. */
  readonly openAt: number;
  /** Segments that are lost, as shares of all. */
  readonly lost: readonly number[];
}

/** The product's `Track` and `Frame`, as a source of frames sees them. */
export interface SourceTrack {
  readonly kind: 'video' | 'audio';
  readonly codec: string;
  readonly timescale: number;
  readonly config: Uint8Array;
  readonly width?: number;
  readonly height?: number;
  readonly sampleRate?: number;
  readonly channels?: number;
}

export interface SourceFrame {
  readonly track: number;
  readonly data: Uint8Array;
  readonly dts: number;
  readonly compositionOffset: number;
  readonly sync: boolean;
  readonly utcMs?: number;
  readonly durationTicks?: number;
}

export interface Recorded {
  readonly tracks: readonly SourceTrack[];
  readonly frames: readonly SourceFrame[];
  readonly options: { readonly segmentDurationMs: number; readonly segmentBytes: number; readonly startUtcMs?: number };
  /** What is there once all has been recorded. */
  readonly run: Run;
  readonly videoTrack: number;
  readonly audioTracks: readonly number[];
}

const VIDEO_FORMATS = [
  { timescale: 90_000, ticks: 3600 },
  { timescale: 90_000, ticks: 3003 },
  { timescale: 30_000, ticks: 1001 },
  { timescale: 12_800, ticks: 512 },
  { timescale: 1000, ticks: 40 },
] as const;

const SEGMENT_BYTES = 65_536;
const LARGE_PICTURE_BYTES = 20_000;
const FRAME_SAMPLES = 1024;

/** Ranks of presentation in decode order of a GOP of `n` pictures, and by how many pictures presentation is behind. */
const ORDERS = {
  asShown: { delay: 0, ranks: (n: number) => groups(n, 1) },
  bFrames: { delay: 1, ranks: (n: number) => [0, ...groups(n - 1, 2).map((rank) => rank + 1)] },
  leading: { delay: 2, ranks: (n: number) => groups(n, 3) },
} as const;

/** Groups of `size` in each of which the last to be presented is decoded first. */
function groups(n: number, size: number): number[] {
  return Array.from({ length: n }, (_, i) => {
    const first = i - (i % size);
    const last = Math.min(first + size, n) - 1;
    return i === first ? last : i - 1;
  });
}

/** Parts of a whole, from 0 to below 1. */
export const shares = fc.integer({ min: 0, max: 999 }).map((n) => n / 1000);

const video: fc.Arbitrary<VideoSpec> = fc.record({
  format: fc.constantFrom(...VIDEO_FORMATS),
  pace: fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 6 }) }, { weight: 1, arbitrary: fc.constant(25) }),
  gops: fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 14, size: 'max' }),
  order: fc.constantFrom('asShown', 'bFrames', 'leading'),
  negativeOffsets: fc.boolean(),
  jitter: fc.constantFrom(0, 0, 0.3, 0.9),
  last: fc.constantFrom(0, 1, 0.5, 3),
  width: fc.constantFrom(640, 640, 640, 640, 640, 640, 640, 320),
  large: fc.constantFrom(false, false, false, true),
});

const audio: fc.Arbitrary<AudioSpec> = fc.record({
  ownTimescale: fc.boolean(),
  priming: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined }),
  beginMs: fc.integer({ min: -400, max: 900 }),
  tailMs: fc.integer({ min: -900, max: 900 }),
  pauses: fc.array(fc.record({ at: shares, frames: fc.constantFrom(0.2, 0.4, 0.7, 1, 2.3, 11, 60) }), { maxLength: 3 }),
  last: fc.constantFrom(1, 1, 0.4, 0.9),
  told: fc.boolean(),
  lateMs: fc.integer({ min: -250, max: 250 }),
});

const recording: fc.Arbitrary<RecordingSpec> = fc.record({
  video: fc.option(video, { nil: undefined, freq: 7 }),
  audios: fc.oneof(
    { weight: 4, arbitrary: fc.tuple(audio) },
    { weight: 1, arbitrary: fc.constant([]) },
    { weight: 2, arbitrary: fc.tuple(audio, audio) },
  ),
  extra: fc.constantFrom(false, false, false, true),
  audioFirst: fc.boolean(),
  gapMs: fc.oneof(fc.integer({ min: -4000, max: 4000 }), fc.constantFrom(0, 15, -15, 40, 12_000)),
  baseMs: fc.constantFrom(0, 0, 0, 5000, 86_400_000, -700),
  stamped: fc.boolean(),
  segmentMs: fc.oneof(
    { weight: 3, arbitrary: fc.integer({ min: 200, max: 3000 }) },
    { weight: 1, arbitrary: fc.constant(20_000) },
  ),
  seed: fc.nat(),
});

export const archiveSpecs: fc.Arbitrary<ArchiveSpec> = fc.record({
  sampleRate: fc.constantFrom(44_100, 48_000),
  recordings: fc.array(
    recording.filter((one) => one.video !== undefined || one.audios.length > 0),
    { minLength: 1, maxLength: 4, size: 'max' },
  ),
  openAt: shares,
  lost: fc.oneof(fc.constant([]), fc.array(shares, { maxLength: 3 })),
});

/** Numbers from 0 to 1 that look random and are the same at each run. */
function random(seed: number): () => number {
  let state = (Math.imul(seed + 1, 2_654_435_761) + 1) >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Payloads are told apart by their first bytes, so that a frame in the wrong place is seen. */
let payloads = 0;

function payloadOf(bytes: number, next: () => number): Buffer {
  const payload = Buffer.alloc(bytes);
  for (let i = 0; i < Math.min(bytes, 64); i++) payload[i] = next() * 256;
  payload.writeUInt32BE(payloads++);
  return payload;
}

function picturesOf(spec: VideoSpec, baseMs: number, next: () => number): Sample[] {
  const { timescale, ticks } = spec.format;
  const length = ticks * spec.pace;
  const { delay, ranks } = ORDERS[spec.order];
  // A picture that is presented wholly before it is decoded is no use to anybody.
  const jitter = spec.negativeOffsets ? Math.min(spec.jitter, 0.3) : spec.jitter;
  const count = spec.gops.reduce((sum, gop) => sum + gop, 0);
  const grid = [Math.round((baseMs * timescale) / 1000)];
  while (grid.length < count + delay + 1) {
    grid.push((grid.at(-1) ?? 0) + Math.max(1, Math.round(length * (1 + jitter * (next() - 0.5)))));
  }
  const back = spec.negativeOffsets ? delay * length : 0;
  const samples: Sample[] = [];
  for (const gop of spec.gops) {
    const first = samples.length;
    for (const rank of ranks(gop)) {
      const i = samples.length;
      const dts = grid[i] ?? 0;
      const compositionOffset = (grid[first + rank + delay] ?? 0) - dts - back;
      const bytes = spec.large ? LARGE_PICTURE_BYTES : 12 + Math.floor(next() * 40);
      const duration = (grid[i + 1] ?? 0) - dts;
      samples.push({ payload: payloadOf(bytes, next), dts, duration, compositionOffset, sync: i === first });
    }
  }
  return withLast(samples, lastLength(spec, samples, length));
}

/** The last picture lasts as long as the source tells; else as the one before. */
function lastLength({ last, format }: VideoSpec, samples: readonly Sample[], length: number): number {
  if (last > 0) return Math.max(1, Math.round(length * last));
  return samples.at(-2)?.duration ?? Math.round(format.timescale / 25);
}

function withLast(samples: readonly Sample[], duration: number): Sample[] {
  return samples.map((sample, i) => (i + 1 === samples.length ? { ...sample, duration } : sample));
}

interface AudioPlace {
  readonly timescale: number;
  readonly sampleRate: number;
  readonly fromMs: number;
  readonly toMs: number;
}

function soundOf(spec: AudioSpec, { timescale, sampleRate, fromMs, toMs }: AudioPlace, next: () => number): Sample[] {
  const tick = (frame: number) => Math.round((frame * FRAME_SAMPLES * timescale) / sampleRate);
  const frames = Math.max(2, Math.round(((toMs - fromMs) * sampleRate) / 1000 / FRAME_SAMPLES));
  let base = Math.round((fromMs * timescale) / 1000);
  if (spec.priming !== undefined && fromMs <= 0) base = -tick(spec.priming);
  const samples: Sample[] = [];
  for (let i = 0; i < frames; i++) {
    if (spec.told) for (const pause of spec.pauses) if (i === Math.floor(pause.at * frames)) base += tick(pause.frames);
    const [dts, end] = [base + tick(i), base + tick(i + 1)];
    const payload = payloadOf(10 + Math.floor(next() * 20), next);
    samples.push({ payload, dts, duration: end - dts, compositionOffset: 0, sync: true });
  }
  const forerunner = samples.at(-2)?.duration ?? FRAME_SAMPLES;
  const last = spec.told ? Math.max(1, Math.round(tick(1) * spec.last)) : forerunner;
  return withLast(samples, last);
}

const AAC_CONFIG = [
  ...[0, 0, 0, 0, 3, 0x19, 0, 1, 0, 4, 0x11, 0x40, 0x15, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  ...[5, 2, 0, 0, 6, 1, 2],
];

function audioTrackOf(timescale: number, sampleRate: number): SourceTrack {
  const config = Uint8Array.from(AAC_CONFIG);
  config.set(sampleRate === 48_000 ? [0x11, 0x88] : [0x12, 0x08], 26);
  return { kind: 'audio', codec: 'mp4a.40.2', timescale, config, sampleRate, channels: 1 };
}

/** No more of a parameter set than tells two of them apart. */
const setOf = (width: number) => [0x67, 0x64, width >>> 8, width & 255];

function videoTrackOf({ format, width }: VideoSpec): SourceTrack {
  const config = Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe1, 0, 4, ...setOf(width), 1, 0, 1, 0x68);
  return { kind: 'video', codec: 'avc1.640028', timescale: format.timescale, config, width, height: 360 };
}

/** What the source of a recording gives whose first frames are of wall time `startUtcMs`. */
export function record(spec: RecordingSpec, sampleRate: number, startUtcMs: number): Recorded {
  const lines = linesOf(spec, sampleRate);
  const leading = lines.video ?? lines.audios[0];
  if (leading === undefined) throw new Error('a recording has a track');
  const originMs = Math.round((leadingBegin(leading) * 1000) / leading.track.timescale);
  const clockUtcMs = startUtcMs - originMs;
  const anchor: Anchor = { dts: 0, utcMs: clockUtcMs };
  const all = inOrder(spec, lines);
  return {
    tracks: all.map(({ track }) => track),
    frames: fed(all, leading, spec, clockUtcMs),
    options: {
      segmentDurationMs: spec.segmentMs,
      segmentBytes: SEGMENT_BYTES,
      ...(spec.stamped ? {} : { startUtcMs: clockUtcMs }),
    },
    run: {
      anchors: [spec.stamped ? stampedAnchor(leading, clockUtcMs) : anchor],
      anchorTimescale: leading.track.timescale,
      video: lines.video && lineOf(lines.video),
      audios: lines.audios.map(lineOf),
    },
    videoTrack: lines.video === undefined ? -1 : all.indexOf(lines.video),
    audioTracks: lines.audios.map((line) => all.indexOf(line)),
  };
}

interface Feed {
  readonly track: SourceTrack;
  readonly samples: readonly Sample[];
  readonly lateMs: number;
  /** Whether the source tells the length of every frame. */
  readonly told: boolean;
}

interface Feeds {
  readonly video: Feed | undefined;
  readonly audios: readonly Feed[];
  readonly extra: Feed | undefined;
}

function linesOf(spec: RecordingSpec, sampleRate: number): Feeds {
  const next = random(spec.seed);
  const { video: pictures } = spec;
  const video = pictures && {
    ...{ track: videoTrackOf(pictures), samples: picturesOf(pictures, spec.baseMs, next), lateMs: 0, told: false },
  };
  const audios = spec.audios.map((sound, rank): Feed => {
    const leads = video === undefined && rank === 0;
    const place = placeOf(spec.baseMs + (leads ? 0 : sound.beginMs), sound, sampleRate, video);
    const track = audioTrackOf(place.timescale, sampleRate);
    return { track, samples: soundOf(sound, place, next), lateMs: sound.lateMs, told: sound.told };
  });
  const extra = spec.extra ? video && { ...video, samples: thinned(video.samples, next) } : undefined;
  return { video, audios, extra };
}

/** Every fourth picture, as a video of its own. */
function thinned(samples: readonly Sample[], next: () => number): Sample[] {
  const kept = samples.filter((_, i) => i % 4 === 0);
  return kept.map(({ dts, duration }, i) => {
    const end = kept[i + 1]?.dts ?? dts + duration;
    return { payload: payloadOf(15, next), dts, duration: end - dts, compositionOffset: 0, sync: true };
  });
}

function inOrder({ audioFirst }: RecordingSpec, { video, audios, extra }: Feeds): Feed[] {
  const all = audioFirst ? [...audios, video, extra] : [video, ...audios, extra];
  return all.filter((line) => line !== undefined);
}

const lineOf = ({ track, samples }: Feed): Line => ({
  kind: track.kind,
  timescale: track.timescale,
  configuration: `${track.width ?? 0} ${track.sampleRate ?? 0}`,
  frameSeconds: track.sampleRate === undefined ? 0 : FRAME_SAMPLES / track.sampleRate,
  parameterSets: Buffer.from([0, 0, 0, 4, ...setOf(track.width ?? 0), 0, 0, 0, 1, 0x68]),
  samples,
});

function placeOf(fromMs: number, sound: AudioSpec, sampleRate: number, video: Feed | undefined): AudioPlace {
  const timescale = sound.ownTimescale ? sampleRate : 90_000;
  const last = video?.samples.at(-1);
  const endMs = last && video ? ((last.dts + last.duration) * 1000) / video.track.timescale : fromMs + 6000;
  return { timescale, sampleRate, fromMs, toMs: endMs + sound.tailMs };
}

function leadingBegin({ samples }: Feed): number {
  return Math.min(...samples.map(({ dts, compositionOffset }) => dts + compositionOffset));
}

/** The wall time of a stamped frame, to the microsecond. */
function stampOf({ track }: Feed, sample: Sample, clockUtcMs: number): number {
  return Math.round((clockUtcMs + ((sample.dts + sample.compositionOffset) * 1000) / track.timescale) * 1000) / 1000;
}

function stampedAnchor(leading: Feed, clockUtcMs: number): Anchor {
  const [first] = leading.samples;
  if (first === undefined) throw new Error('the leading track has samples');
  return { dts: first.dts + first.compositionOffset, utcMs: stampOf(leading, first, clockUtcMs) };
}

/** Frames of all tracks in the order in which they come in. */
function fed(lines: readonly Feed[], leading: Feed, spec: RecordingSpec, clockUtcMs: number): SourceFrame[] {
  const arrivals = lines.flatMap((line, index) =>
    line.samples.map((sample, i) => ({
      atMs: (sample.dts * 1000) / line.track.timescale + line.lateMs,
      frame: frameOf(line, index, sample, i + 1 === line.samples.length, spec),
      stamp: line === leading && spec.stamped ? { utcMs: stampOf(line, sample, clockUtcMs) } : {},
    })),
  );
  return arrivals.toSorted((a, b) => a.atMs - b.atMs).map(({ frame, stamp }) => ({ ...frame, ...stamp }));
}

function frameOf(
  { track, told }: Feed,
  index: number,
  sample: Sample,
  last: boolean,
  { video: pictures }: RecordingSpec,
): SourceFrame {
  const { payload: data, dts, compositionOffset, sync, duration } = sample;
  const isTold = track.kind === 'audio' ? told : last && (pictures?.last ?? 0) > 0;
  return { track: index, data, dts, compositionOffset, sync, ...(isTold ? { durationTicks: duration } : {}) };
}
