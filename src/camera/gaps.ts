/**
 * What of a camera should have been recorded and was not: the gap that lasts, and those that have ended and wait to be
 * noted in the archive, which is done by the next recording that begins, or when the camera is closed.
 */
import type { CameraGap } from '../camera-health.ts';
import type { ErrorCode } from '../errors.ts';

/** A camera that is asked for again and again while it cannot be reached must not fill the memory. */
const MAX_WAITING = 1000;

interface Missing {
  readonly startUtcMs: number;
  readonly cause: ErrorCode;
}

export class Gaps {
  readonly #onGap: (gap: CameraGap) => void;
  #missing: Missing | undefined;
  #waiting: CameraGap[] = [];

  constructor(onGap: (gap: CameraGap) => void) {
    this.#onGap = onGap;
  }

  /** From here on nothing is recorded; of two causes the first one counts. */
  begin(startUtcMs: number, cause: ErrorCode): void {
    this.#missing ??= { startUtcMs, cause };
  }

  /** The gap that lasts, as it is if it ends here; it is told by whoever takes it. */
  take(endUtcMs: number): CameraGap | undefined {
    const missing = this.#missing;
    this.#missing = undefined;
    // A clock that was set back meanwhile leaves none.
    return missing === undefined || missing.startUtcMs >= endUtcMs ? undefined : { ...missing, endUtcMs };
  }

  /** A gap has ended, and no recording has noted it. */
  end(gap: CameraGap | undefined): void {
    if (gap === undefined || gap.startUtcMs >= gap.endUtcMs) return;
    this.#waiting.push(gap);
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift();
    this.#onGap(gap);
  }

  /** Those that a recording notes when it begins. */
  get waiting(): readonly CameraGap[] {
    return [...this.#waiting];
  }

  noted(gaps: readonly CameraGap[]): void {
    this.#waiting = this.#waiting.filter((gap) => !gaps.includes(gap));
  }
}
