/** What has come from a camera: frames and bytes of each track, and the bit rate of the last seconds. */
import type { CameraTrackHealth } from '../camera-health.ts';
import type { Frame, Track } from '../media.ts';

const WINDOW_S = 10;

interface TrackMeter {
  track: Track;
  frames: number;
  bytes: number;
  lastMs: number | undefined;
}

/** Times are those of one clock that is never set, ms. */
export class Meter {
  #tracks: TrackMeter[] = [];
  /** Bytes of each of the last seconds, by second modulo the window. */
  readonly #seconds = new Float64Array(WINDOW_S + 1);
  #second = 0;
  #beganMs: number | undefined;
  #lastMs: number | undefined;

  /** A connection brings these; what was counted of a track of that place and kind goes on. */
  connected(tracks: readonly Track[], nowMs: number): void {
    this.#tracks = tracks.map((track, i) => {
      const before = this.#tracks[i];
      return before?.track.kind === track.kind
        ? { ...before, track }
        : { track, frames: 0, bytes: 0, lastMs: undefined };
    });
    this.#beganMs ??= nowMs;
  }

  add({ track, data, newTrack }: Frame, nowMs: number): void {
    const meter = this.#tracks[track];
    if (meter === undefined) return;
    meter.frames++;
    meter.bytes += data.byteLength;
    meter.lastMs = nowMs;
    if (newTrack !== undefined) meter.track = newTrack;
    this.#lastMs = nowMs;
    this.#advance(nowMs);
    this.#seconds[this.#second % this.#seconds.length] =
      (this.#seconds[this.#second % this.#seconds.length] ?? 0) + data.byteLength;
  }

  #advance(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second - this.#second > WINDOW_S) this.#seconds.fill(0);
    else for (let gone = this.#second + 1; gone <= second; gone++) this.#seconds[gone % this.#seconds.length] = 0;
    this.#second = second;
  }

  lastFrameAgeMs(nowMs: number): number | null {
    return this.#lastMs === undefined ? null : nowMs - this.#lastMs;
  }

  /** Over the window, or as long as there has been a connection. */
  bitsPerSecond(nowMs: number): number {
    if (this.#beganMs === undefined) return 0;
    this.#advance(nowMs);
    const bytes = this.#seconds.reduce((sum, one) => sum + one, 0);
    const seconds = Math.min(WINDOW_S + (nowMs % 1000) / 1000, Math.max(1, (nowMs - this.#beganMs) / 1000));
    return Math.round((bytes * 8) / seconds);
  }

  tracks(nowMs: number): CameraTrackHealth[] {
    return this.#tracks.map(({ track, frames, bytes, lastMs }) => {
      const { kind, codec, timescale: _, config: __, ...size } = track;
      return { kind, codec, ...size, frames, bytes, lastFrameAgeMs: lastMs === undefined ? null : nowMs - lastMs };
    });
  }
}
