/**
 * Watches that a client goes on taking bytes. Runs only while the sender waits for the client; its timer keeps no
 * process alive.
 */

export interface ProgressWatchOptions {
  /** 0 = never give up. */
  readonly idleTimeoutMs: number;
  /** Bytes the client has taken, as far as it can be known; any change is progress. */
  readonly taken: () => number;
  /** Whether it is the client that is being waited for now. */
  readonly isWaiting: () => boolean;
  /** Longest time between two looks, in milliseconds. */
  readonly periodMs: () => number;
  readonly onProgress: () => void;
  readonly onIdle: () => void;
}

export class ProgressWatch {
  readonly #options: ProgressWatchOptions;
  #timer: NodeJS.Timeout | undefined;
  #taken = 0;
  #progressAtMs = 0;

  constructor(options: ProgressWatchOptions) {
    this.#options = options;
  }

  /** Begins to watch, unless it does already. */
  start(): void {
    if (this.#timer !== undefined) return;
    this.#taken = this.#options.taken();
    this.#progressAtMs = performance.now();
    this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #arm(): void {
    const { idleTimeoutMs, periodMs } = this.#options;
    const period = idleTimeoutMs > 0 ? Math.min(periodMs(), idleTimeoutMs / 4) : periodMs();
    this.#timer = setTimeout(() => this.#look(), period);
    this.#timer.unref();
  }

  #look(): void {
    this.#timer = undefined;
    const { taken, isWaiting, onProgress, onIdle, idleTimeoutMs } = this.#options;
    if (!isWaiting()) return;
    const now = performance.now();
    const count = taken();
    if (count !== this.#taken) {
      this.#taken = count;
      this.#progressAtMs = now;
      onProgress();
    } else if (idleTimeoutMs > 0 && now - this.#progressAtMs >= idleTimeoutMs) {
      onIdle();
      return;
    }
    this.#arm();
  }
}
