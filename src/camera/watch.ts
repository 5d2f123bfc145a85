/**
 * Watches over a connection: frames of the leading track must come, and sync samples among them. Time counts against the
 * camera only while this process runs and takes its frames.
 */
import { FootageError } from '../errors.ts';
import type { SourceFrame } from '../ingest/source.ts';
import { leadingOf, type Track } from '../media.ts';
import type { CheckedCameraOptions } from './options.ts';

export type WatchOptions = Pick<CheckedCameraOptions, 'source' | 'stallTimeoutMs' | 'keyframeTimeoutMs'>;

export const WATCH_MS = 250;

/** Times are those of one clock that is never set, ms. */
export class Watch {
  readonly #leading: number;
  readonly #options: WatchOptions;
  #frameMs: number;
  #syncMs: number;
  #checkedMs: number;
  /** The disk does not take what came: the camera is not to blame. */
  #paused = false;

  constructor(tracks: readonly Track[], options: WatchOptions, nowMs: number) {
    this.#leading = leadingOf(tracks);
    this.#options = options;
    this.#frameMs = nowMs;
    this.#syncMs = nowMs;
    this.#checkedMs = nowMs;
  }

  saw({ track, sync }: SourceFrame, nowMs: number): void {
    if (track !== this.#leading) return;
    this.#frameMs = nowMs;
    if (sync) this.#syncMs = nowMs;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(nowMs: number): void {
    this.#paused = false;
    this.#frameMs = nowMs;
    this.#syncMs = nowMs;
  }

  /** Called every `WATCH_MS`: what is wrong with the connection, if anything is. */
  check(nowMs: number): FootageError | undefined {
    // A process that was stopped finds what came meanwhile only behind its timers.
    const lateMs = Math.max(0, nowMs - this.#checkedMs - 2 * WATCH_MS);
    this.#checkedMs = nowMs;
    this.#frameMs += lateMs;
    this.#syncMs += lateMs;
    if (this.#paused) return undefined;
    const { stallTimeoutMs, keyframeTimeoutMs } = this.#options;
    if (nowMs - this.#frameMs > stallTimeoutMs) return this.#stalled();
    return nowMs - this.#syncMs > keyframeTimeoutMs ? this.#withoutKeyframe() : undefined;
  }

  #stalled(): FootageError {
    const { source, stallTimeoutMs } = this.#options;
    return new FootageError(
      'E_CAMERA_STALLED',
      `${source.description} has sent no picture (or sound, if it sends only that) for ${stallTimeoutMs / 1000} s: it is connected anew by itself; check the camera and the network.`,
    );
  }

  #withoutKeyframe(): FootageError {
    const { source, keyframeTimeoutMs } = this.#options;
    return new FootageError(
      'E_CAMERA_NO_KEYFRAME',
      `${source.description} has sent no sync sample (keyframe) for ${keyframeTimeoutMs / 1000} s: set its key frame interval to some seconds.`,
    );
  }
}
