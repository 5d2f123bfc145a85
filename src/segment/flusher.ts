/**
 * Group flush (design: many cameras share a disk): requests made while a flush is in flight share the next one.
 * Recorders with the same interval are ticked together, so that their files land in one group.
 *
 * A failed sync is a loss that is reported, never retried as if it were well.
 */
import { constants } from 'node:os';
import { FootageError } from '../errors.ts';
import type { Native } from '../native-types.ts';

/** Writes of one recording are gathered for so long, times the recordings there are; ms. */
const GATHER_MS_PER_RECORDING = 0.4;
/** Shorter times are no saving. */
const LEAST_GATHER_MS = 5;
/** What was not appended when a process dies is lost: never so much longer. */
const MOST_GATHER_MS = 100;

interface Request {
  readonly fds: readonly number[];
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

interface Ticker {
  readonly timer: NodeJS.Timeout;
  readonly callbacks: Set<() => void>;
}

/** Is told of every group flush, at times of performance.now(). */
export interface FlushObserver {
  /** `intervalMs`: the shortest time between two flushes that a recorder asks for; infinite without any. */
  began(nowMs: number, intervalMs: number): void;
  ended(nowMs: number): void;
}

export class GroupFlusher {
  readonly #native: Native;
  readonly #observer: FlushObserver | undefined;
  readonly #tickers = new Map<number, Ticker>();
  #waiting: Request[] = [];
  #running = false;
  /** Under way, for all recordings. */
  #gathering: Promise<void> | undefined;

  constructor(native: Native, observer?: FlushObserver) {
    this.#native = native;
    this.#observer = observer;
  }

  /** Makes what was written to the files durable. Rejects with E_FLUSH if any of them could not be synced. */
  flush(fds: readonly number[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ fds, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  /** Calls `callback` every `intervalMs`, together with all others of that interval; returns how to stop it. */
  every(intervalMs: number, callback: () => void): () => void {
    const ticker = this.#tickers.get(intervalMs) ?? this.#startTicker(intervalMs);
    ticker.callbacks.add(callback);
    return () => {
      ticker.callbacks.delete(callback);
      if (ticker.callbacks.size > 0) return;
      clearInterval(ticker.timer);
      this.#tickers.delete(intervalMs);
    };
  }

  /**
   * What a recording awaits before it writes, so that it writes less often: with few of them nothing, with hundreds up to
   * 100 ms. One timer wakes all, since a thread that writes for one goes on with the next without a new wake-up. A job of
   * the thread pool for each frame cost more than its bytes (docs/decisions.md).
   */
  gather(): Promise<void> | undefined {
    const waitMs = Math.min(MOST_GATHER_MS, this.#recordings * GATHER_MS_PER_RECORDING);
    if (waitMs < LEAST_GATHER_MS) return undefined;
    this.#gathering ??= new Promise((resolve) => {
      setTimeout(() => {
        this.#gathering = undefined;
        resolve();
      }, waitMs);
    });
    return this.#gathering;
  }

  get #recordings(): number {
    let count = 0;
    for (const { callbacks } of this.#tickers.values()) count += callbacks.size;
    return count;
  }

  #startTicker(intervalMs: number): Ticker {
    const callbacks = new Set<() => void>();
    const timer = setInterval(() => {
      for (const callback of callbacks) callback();
    }, intervalMs);
    const ticker = { timer, callbacks };
    this.#tickers.set(intervalMs, ticker);
    return ticker;
  }

  async #run(): Promise<void> {
    this.#running = true;
    // One turn of the loop later, so that all recorders of a tick are in the group.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      const group = this.#waiting;
      this.#waiting = [];
      await this.#flushGroup(group);
    }
    this.#running = false;
  }

  async #flushGroup(group: readonly Request[]): Promise<void> {
    const fds = [...new Set(group.flatMap((request) => request.fds))];
    const places = new Map(fds.map((fd, place) => [fd, place]));
    this.#observer?.began(performance.now(), Math.min(Infinity, ...this.#tickers.keys()));
    const errors = await this.#native.groupFlush(Int32Array.from(fds)).catch((error: unknown) => error);
    this.#observer?.ended(performance.now());
    for (const request of group) {
      const errno =
        errors instanceof Int32Array ? request.fds.map((fd) => errors[places.get(fd) ?? -1] ?? 0).find(Boolean) : -1;
      if (errno === undefined) request.resolve();
      else request.reject(flushError(errno, errors));
    }
  }
}

function flushError(errno: number, cause: unknown): FootageError {
  const name = Object.entries(constants.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
  return new FootageError(
    'E_FLUSH',
    `The disk did not confirm recorded data (${name}): what was written since the last flush may be lost. Check the disk.`,
    cause instanceof Error ? cause : undefined,
  );
}
