/**
 * Makes frames of the samples of one pipe: sound lies end to end where its source only rounds, and pictures bring the
 * configuration that has changed. Times are the camera's; none is bent.
 */
import type { Track } from '../media.ts';
import { ConfigurationWatch } from '../mp4/configuration-change.ts';
import { isG711 } from '../mp4/codec.ts';
import type { MovieTrack } from '../mp4/reader.ts';
import type { StreamSample } from './fragment-stream.ts';
import type { SourceFrame } from './source.ts';

/** Sound that begins this many seconds beside the end of its forerunner, or half a frame, follows it: clocks of containers are coarse. */
const LEAST_TOLERANCE_S = 0.002;
/** Time 0 of a connection lies before what comes first, for all tracks: what lies before time 0 would be hidden as priming. */
const BEFORE_S = 1;
const AAC_SAMPLES = 1024;
const OPUS_RATE = 48_000;
/** Of a packet: 120 ms. */
const OPUS_MAX_SAMPLES = 5760;

export class TrackFeed {
  /** In force now. */
  track: Track;
  readonly #index: number;
  readonly #watch: ConfigurationWatch | undefined;
  #endDts: number | undefined;

  constructor(index: number, { track }: MovieTrack) {
    this.#index = index;
    this.track = track;
    this.#watch = track.kind === 'video' ? new ConfigurationWatch(track) : undefined;
  }

  /** @throws FootageError as `ConfigurationWatch.changed` */
  frame(given: StreamSample, arrivalMs: number): SourceFrame {
    const sample = { ...given, dts: given.dts + BEFORE_S * this.track.timescale };
    const { data, dts, compositionOffset, sync, producerUtcMs } = sample;
    const frame = { track: this.#index, data, dts, compositionOffset, sync, arrivalMs };
    const clock = producerUtcMs === undefined ? {} : { cameraUtcMs: producerUtcMs };
    if (this.track.kind === 'audio') return { ...frame, ...clock, sync: true, ...this.#placed(sample) };
    const newTrack = sync ? this.#watch?.changed(data) : undefined;
    if (newTrack === undefined) return { ...frame, ...clock };
    this.track = newTrack;
    return { ...frame, ...clock, newTrack };
  }

  #placed(sample: StreamSample): { dts: number; durationTicks: number } {
    const durationTicks = decodedTicks(this.track, sample.data) ?? sample.durationTicks;
    const tolerance = Math.max(durationTicks / 2, LEAST_TOLERANCE_S * this.track.timescale);
    const follows = this.#endDts !== undefined && Math.abs(sample.dts - this.#endDts) <= tolerance;
    const dts = follows ? (this.#endDts ?? 0) : sample.dts;
    this.#endDts = dts + durationTicks;
    return { dts, durationTicks };
  }
}

/** How long a frame of sound is, decoded, in ticks of its track; undefined if its bytes do not tell. */
function decodedTicks(
  { codec, timescale, sampleRate = timescale, channels = 1 }: Track,
  data: Uint8Array,
): number | undefined {
  if (isG711(codec)) return Math.round((data.byteLength / channels) * (timescale / sampleRate));
  if (codec === 'opus') return opusTicks(data, timescale);
  if (codec === 'mp4a.40.2') return Math.round((AAC_SAMPLES * timescale) / sampleRate);
  return undefined;
}

/** Duration of an Opus packet from its table of contents (RFC 6716 section 3.1). */
function opusTicks(packet: Uint8Array, timescale: number): number | undefined {
  const [toc] = packet;
  if (toc === undefined) return undefined;
  const code = toc & 3;
  const frames = code === 0 ? 1 : code < 3 ? 2 : (packet[1] ?? 0) & 0x3f;
  const samples = frames * opusFrameSamples(toc >> 3);
  return samples > 0 && samples <= OPUS_MAX_SAMPLES ? Math.round((samples * timescale) / OPUS_RATE) : undefined;
}

/** Samples at 48 kHz of one frame of a configuration (RFC 6716 table 2). */
function opusFrameSamples(configuration: number): number {
  if (configuration < 12) return [480, 960, 1920, 2880][configuration & 3] ?? 0;
  if (configuration < 16) return [480, 960][configuration & 1] ?? 0;
  return [120, 240, 480, 960][configuration & 3] ?? 0;
}
