/**
 * The limiting policy of pass 2: a token bucket with an initial burst. It decides only when the sender would take more;
 * a sender at its soft barrier comes first.
 */

/** Decides how fast a session may go. Replaceable. */
export interface RateLimiter {
  /** Largest piece to be sent at once, bytes. */
  readonly pieceBytes: number;
  /** Called after `bytes` were handed to the sender at `nowMs`; how long to wait before the next piece, ms. */
  spend(bytes: number, nowMs: number): number;
}

export interface RateOptions {
  /** Bytes per second; 0 = no limit. */
  readonly bytesPerSecond: number;
  /** Bytes that may go at once in the beginning. Default 1 MiB. */
  readonly burstBytes?: number;
}

/** Large pieces let the native sender work in long runs. */
const PIECE_BYTES = 32 * 2 ** 20;
const MIN_PIECE_BYTES = 16 * 2 ** 10;
/** A limited session sends about this often per second. */
const PIECES_PER_SECOND = 8;
const DEFAULT_BURST_BYTES = 2 ** 20;

const UNLIMITED: RateLimiter = { pieceBytes: PIECE_BYTES, spend: () => 0 };

/** A token bucket: `burstBytes` at once, then `bytesPerSecond`; tokens never exceed the burst. */
class TokenBucket implements RateLimiter {
  readonly pieceBytes: number;
  readonly #perMs: number;
  readonly #burst: number;
  #tokens: number;
  #atMs: number | undefined;

  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#perMs = bytesPerSecond / 1000;
    this.#burst = burstBytes;
    this.#tokens = burstBytes;
    this.pieceBytes = Math.round(Math.min(PIECE_BYTES, Math.max(MIN_PIECE_BYTES, bytesPerSecond / PIECES_PER_SECOND)));
  }

  spend(bytes: number, nowMs: number): number {
    const elapsed = nowMs - (this.#atMs ?? nowMs);
    this.#atMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + elapsed * this.#perMs) - bytes;
    return this.#tokens >= 0 ? 0 : -this.#tokens / this.#perMs;
  }
}

/** @throws RangeError for a negative or non-finite rate or burst */
export function rateLimiter({ bytesPerSecond, burstBytes = DEFAULT_BURST_BYTES }: RateOptions): RateLimiter {
  if (!Number.isFinite(bytesPerSecond) || bytesPerSecond < 0) throw new RangeError(`not a rate: ${bytesPerSecond}`);
  if (!Number.isFinite(burstBytes) || burstBytes < 0) throw new RangeError(`not a burst: ${burstBytes}`);
  return bytesPerSecond === 0 ? UNLIMITED : new TokenBucket(bytesPerSecond, burstBytes);
}
