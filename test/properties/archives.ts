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
  readonly audio: AudioSpec | undefined;
  /** A third track, which no answer may hold. */
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
  readonly audioTrack: number;
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
  pace: fc.integer({ min: 1, max: 6 }),
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
  audio: fc.option(audio, { nil: undefined, freq: 4 }),
  extra: fc.constantFrom(false, false, false, true),
  audioFirst: fc.boolean(),
  gapMs: fc.oneof(fc.integer({ min: -4000, max: 4000 }), fc.constantFrom(0, 15, -15, 40, 12_000)),
  baseMs: fc.constantFrom(0, 0, 0, 5000, 86_400_000, -700),
  stamped: fc.boolean(),
  segmentMs: fc.integer({ min: 200, max: 3000 }),
  seed: fc.nat(),
});

export const archiveSpecs: fc.Arbitrary<ArchiveSpec> = fc.record({
  sampleRate: fc.constantFrom(44_100, 48_000),
  recordings: fc.array(
    recording.filter((one) => one.video !== undefined || one.audio !== undefined),
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

function videoTrackOf({ format, width }: VideoSpec): SourceTrack {
  const config = Uint8Array.of(1, 0x64, 0, 0x28, 0xff, 0xe0, 0);
  return { kind: 'video', codec: 'avc1.640028', timescale: format.timescale, config, width, height: 360 };
}

/** What the source of a recording gives whose first frames are of wall time `startUtcMs`. */
export function record(spec: RecordingSpec, sampleRate: number, startUtcMs: number): Recorded {
  const next = random(spec.seed);
  const pictures = spec.video === undefined ? [] : picturesOf(spec.video, spec.baseMs, next);
  const videoTrack = spec.video && videoTrackOf(spec.video);
  const place = placeOf(spec, sampleRate, videoTrack, pictures);
  const sound = spec.audio === undefined ? [] : soundOf(spec.audio, place, next);
  const audioTrack = spec.audio && audioTrackOf(place.timescale, sampleRate);
  const main = [videoTrack, audioTrack].filter((track) => track !== undefined);
  const tracks = spec.audioFirst ? main.toReversed() : main;
  const [v, a] = [videoTrack && tracks.indexOf(videoTrack), audioTrack && tracks.indexOf(audioTrack)];
  const lines: Feed[] = [];
  if (v !== undefined && videoTrack) lines.push({ index: v, track: videoTrack, samples: pictures, lateMs: 0 });
  if (a !== undefined && audioTrack) {
    lines.push({ index: a, track: audioTrack, samples: sound, lateMs: spec.audio?.lateMs ?? 0 });
  }
  if (spec.extra && v !== undefined && audioTrack) {
    const others = sound.map((sample) => ({ ...sample, payload: payloadOf(15, next) }));
    lines.push({ index: tracks.length, track: audioTrack, samples: others, lateMs: 0 });
  }
  const leading = lines[0];
  if (leading === undefined) throw new Error('a recording has a track');
  const originMs = Math.round((leadingBegin(leading) * 1000) / leading.track.timescale);
  const clockUtcMs = startUtcMs - originMs;
  const anchor: Anchor = { dts: 0, utcMs: clockUtcMs };
  return {
    tracks: lines.toSorted((x, y) => x.index - y.index).map(({ track }) => track),
    frames: fed(lines, spec, clockUtcMs),
    options: {
      segmentDurationMs: spec.segmentMs,
      segmentBytes: SEGMENT_BYTES,
      ...(spec.stamped ? {} : { startUtcMs: clockUtcMs }),
    },
    run: {
      anchors: [spec.stamped ? stampedAnchor(leading, clockUtcMs) : anchor],
      anchorTimescale: leading.track.timescale,
      video: videoTrack && lineOf(videoTrack, pictures),
      audio: audioTrack && lineOf(audioTrack, sound),
    },
    videoTrack: v ?? -1,
    audioTrack: a ?? -1,
  };
}

const lineOf = (track: SourceTrack, samples: readonly Sample[]): Line => ({
  kind: track.kind,
  timescale: track.timescale,
  configuration: `${track.width ?? 0} ${track.sampleRate ?? 0}`,
  samples,
});

function placeOf(
  { audio: sound, baseMs }: RecordingSpec,
  sampleRate: number,
  videoTrack: SourceTrack | undefined,
  pictures: readonly Sample[],
): AudioPlace {
  const timescale = sound?.ownTimescale === true ? sampleRate : 90_000;
  const last = pictures.at(-1);
  const endMs = last && videoTrack ? ((last.dts + last.duration) * 1000) / videoTrack.timescale : baseMs + 6000;
  const fromMs = baseMs + (videoTrack === undefined ? 0 : (sound?.beginMs ?? 0));
  return { timescale, sampleRate, fromMs, toMs: endMs + (sound?.tailMs ?? 0) };
}

interface Feed {
  readonly index: number;
  readonly track: SourceTrack;
  readonly samples: readonly Sample[];
  readonly lateMs: number;
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
function fed(lines: readonly Feed[], spec: RecordingSpec, clockUtcMs: number): SourceFrame[] {
  const arrivals = lines.flatMap((line, leading) =>
    line.samples.map((sample, i) => ({
      atMs: (sample.dts * 1000) / line.track.timescale + line.lateMs,
      frame: frameOf(line, sample, i + 1 === line.samples.length, spec),
      stamp: leading === 0 && spec.stamped ? { utcMs: stampOf(line, sample, clockUtcMs) } : {},
    })),
  );
  return arrivals.toSorted((a, b) => a.atMs - b.atMs).map(({ frame, stamp }) => ({ ...frame, ...stamp }));
}

function frameOf({ index, track }: Feed, sample: Sample, last: boolean, spec: RecordingSpec): SourceFrame {
  const { payload: data, dts, compositionOffset, sync, duration } = sample;
  const told = track.kind === 'audio' ? spec.audio?.told === true : last && (spec.video?.last ?? 0) > 0;
  return { track: index, data, dts, compositionOffset, sync, ...(told ? { durationTicks: duration } : {}) };
}
