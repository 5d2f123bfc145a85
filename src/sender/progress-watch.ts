/**
 * Watches that a client goes on taking bytes. Runs only while the sender waits for the client; all watches share one
 * timer, which keeps no process alive.
 */
import { type Sleeper, Wakeups } from '../wakeups.ts';

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

const looks = new Wakeups({ keepsProcess: false });

export class ProgressWatch implements Sleeper {
  wakeTick: number | undefined;
  readonly #options: ProgressWatchOptions;
  #taken = 0;
  #progressAtMs = 0;

  constructor(options: ProgressWatchOptions) {
    this.#options = options;
  }

  /** Begins to watch, unless it does already. */
  start(): void {
    if (this.wakeTick !== undefined) return;
    const nowMs = performance.now();
    this.#taken = this.#options.taken();
    this.#progressAtMs = nowMs;
    this.#sleep(nowMs);
  }

  stop(): void {
    looks.cancel(this);
  }

  #sleep(nowMs: number): void {
    const { idleTimeoutMs, periodMs } = this.#options;
    const period = idleTimeoutMs > 0 ? Math.min(periodMs(), idleTimeoutMs / 4) : periodMs();
    looks.add(this, nowMs + period, nowMs);
  }

  wake(): void {
    const { taken, isWaiting, onProgress, onIdle, idleTimeoutMs } = this.#options;
    if (!isWaiting()) return;
    const nowMs = performance.now();
    const count = taken();
    if (count !== this.#taken) {
      this.#taken = count;
      this.#progressAtMs = nowMs;
      onProgress();
    } else if (idleTimeoutMs > 0 && nowMs - this.#progressAtMs >= idleTimeoutMs) {
      onIdle();
      return;
    }
    this.#sleep(nowMs);
  }
}
