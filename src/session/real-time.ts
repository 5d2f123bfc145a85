/**
 * Real time × N: a session goes as fast as a player shows what it gets, times a factor, after a few seconds of media at
 * once. It goes by the media time of the very bytes that are sent: a quiet night costs less than a busy day. What a
 * player needs before any media is not paced.
 */
import { checkKeys, type KeysOf } from '../option-keys.ts';
import type { PacingPolicy, SessionTraits } from './pacing.ts';
import { Account, pieceBytesAt, type RateLimiter, UNLIMITED } from './rate.ts';

export interface RealTimeOptions {
  /** Seconds of media per second, above 0; with 1 a player never gets ahead of its burst. */
  readonly factor: number;
  /** Media that may go at once in the beginning, seconds. Default 5. */
  readonly burstSeconds?: number;
}

const KEYS: KeysOf<RealTimeOptions> = { factor: true, burstSeconds: true };
const DEFAULT_BURST_S = 5;

/** @throws RangeError, TypeError */
export function realTimePolicy(options: RealTimeOptions | undefined): PacingPolicy | undefined {
  if (options === undefined) return undefined;
  checkKeys(options, KEYS, 'realTime');
  const { factor, burstSeconds = DEFAULT_BURST_S } = options;
  if (!(factor > 0 && Number.isFinite(factor))) throw new RangeError(`not a factor above 0: ${factor}`);
  if (!(burstSeconds >= 0 && Number.isFinite(burstSeconds))) throw new RangeError(`not a burst: ${burstSeconds}`);
  return (traits) => (traits.mediaMs > 0 ? new RealTime(traits, factor, burstSeconds) : UNLIMITED);
}

class RealTime implements RateLimiter {
  readonly cause = 'realTime';
  readonly pieceBytes: number;
  readonly #mediaMsIn: SessionTraits['mediaMsIn'];
  /** Its units are ms of media. */
  readonly #account: Account;
  #sentBytes = 0;
  #sentMs = 0;

  constructor({ lengthBytes, mediaMs, mediaMsIn }: SessionTraits, factor: number, burstSeconds: number) {
    this.pieceBytes = pieceBytesAt((lengthBytes / mediaMs) * 1000 * factor);
    this.#mediaMsIn = mediaMsIn;
    this.#account = new Account(1000 * factor, 1000 * burstSeconds);
  }

  spend(bytes: number, nowMs: number): number {
    this.#sentBytes += bytes;
    const sentMs = this.#mediaMsIn(this.#sentBytes);
    const tookMs = sentMs - this.#sentMs;
    this.#sentMs = sentMs;
    return tookMs > 0 ? this.#account.take(tookMs, nowMs) : 0;
  }
}
