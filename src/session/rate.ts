/**
 * Limits of pass 2: what decides how fast a session may go when its sender would take more (a sender at its soft barrier
 * comes first), and the account that all limits of ours keep. Time is an argument everywhere.
 */
import { checkKeys, type KeysOf } from '../option-keys.ts';

/** What a session can wait for, as the counters name it. */
export type StallCause =
  'client' | 'sessionRate' | 'clientRate' | 'serverRate' | 'realTime' | 'recordingFirst' | 'policy';

/** Decides how fast a session may go. Replaceable. */
export interface RateLimiter {
  /** Largest piece to be sent at once, bytes; asked before each piece. */
  readonly pieceBytes: number;
  /** What the last wait was for. Default `policy`. */
  readonly cause?: StallCause;
  /** Called after `bytes` were handed to the sender at `nowMs`; how long to wait before the next piece, ms. */
  spend(bytes: number, nowMs: number): number;
  /**
   * How long a session has to wait now, ms: asked before its first piece, since others may have spent what is shared, and
   * after each wait, since the limit may have changed meanwhile. Default 0.
   */
  owedMs?(nowMs: number): number;
  /** Called once, when the session has ended. */
  end?(): void;
}

export interface RateOptions {
  /** Bytes per second; 0 = no limit. */
  readonly bytesPerSecond: number;
  /** Bytes that may go at once in the beginning. Default 1 MiB. */
  readonly burstBytes?: number;
}

/** Large pieces let the native sender work in long runs. */
export const MAX_PIECE_BYTES = 32 * 2 ** 20;
const MIN_PIECE_BYTES = 16 * 2 ** 10;
/** From this size on a piece costs hardly more than its bytes, so faster sessions rather send more often. */
export const CHEAP_PIECE_BYTES = 256 * 2 ** 10;
/** A slow session sends this much of a second at once: any 10 s hold 10 or 11 such pieces, 5 % off at most. */
const SLOW_PIECE_S = 0.95;
const FAST_PIECE_S = 1 / 8;
const DEFAULT_BURST_BYTES = 2 ** 20;

/**
 * Who is woken so much too late still gets all that was due: more than the coarsest grid of wakeups.ts, for a server that
 * is busy must not make its clients slower.
 */
const LATENESS_MS = 600;

export const UNLIMITED: RateLimiter = { pieceBytes: MAX_PIECE_BYTES, spend: () => 0 };

/** The piece of a session that goes at `bytesPerSecond`; of a slow one it is `slowPieceS` of its bytes. */
export function pieceBytesAt(bytesPerSecond: number, slowPieceS = SLOW_PIECE_S): number {
  const cheap = Math.min(CHEAP_PIECE_BYTES, bytesPerSecond * slowPieceS);
  const wanted = Math.max(MIN_PIECE_BYTES, cheap, bytesPerSecond * FAST_PIECE_S);
  return Math.round(Math.min(MAX_PIECE_BYTES, wanted));
}

/**
 * A token bucket. Units are bytes, or whatever is limited. What is taken may be more than there is: the wait pays for it
 * afterwards.
 *
 * It is kept as two counts that only grow: what was taken, and what the rate has paid for by now. A wait is the way from
 * one to the other at the present rate, so debts follow the rate when it changes; and who waits remembers a position, not
 * an instant.
 */
export class Account {
  #perMs: number;
  readonly #burst: number;
  /** Position behind all that was taken. */
  #taken: number;
  /** Position up to which everything is paid at `#paidAtMs`; the clock starts with what is taken first. */
  #paid = 0;
  #paidAtMs: number | undefined;

  /** `unitsPerSecond` may be infinite: then nothing that is taken is owed. */
  constructor(unitsPerSecond: number, burst: number) {
    this.#perMs = unitsPerSecond / 1000;
    this.#burst = burst;
    this.#taken = -burst;
  }

  get unitsPerSecond(): number {
    return this.#perMs * 1000;
  }

  /** Position behind all that was taken. */
  get position(): number {
    return this.#taken;
  }

  /** From now on, also for what is owed. */
  setRate(unitsPerSecond: number, nowMs: number): void {
    this.#paid = this.#paidBy(nowMs);
    this.#paidAtMs = nowMs;
    this.#perMs = unitsPerSecond / 1000;
  }

  /** No limit from now on: what is owed is forgiven, and nothing is saved. */
  lift(): void {
    this.#paid = this.#taken;
    this.#perMs = Infinity;
  }

  /** Takes `units`; how long until they are paid, ms. */
  take(units: number, nowMs: number): number {
    if (this.#perMs === Infinity) return 0;
    this.#paidAtMs ??= nowMs;
    const saved = Math.max(this.#burst, LATENESS_MS * this.#perMs);
    this.#taken = Math.max(this.#taken, this.#paidBy(nowMs) - saved) + units;
    return this.owedMs(nowMs);
  }

  /** How long until all is paid up to a position, ms. */
  owedMs(nowMs: number, position = this.#taken): number {
    return Math.max(0, (position - this.#paidBy(nowMs)) / this.#perMs);
  }

  /** Takes back what was taken and not used. */
  giveBack(units: number): void {
    if (this.#perMs !== Infinity) this.#taken -= units;
  }

  /** Nothing is owed for what was taken, and the burst has come together again: it is as if it were new. */
  isFull(nowMs: number): boolean {
    return this.#taken <= this.#paidBy(nowMs) - this.#burst;
  }

  #paidBy(nowMs: number): number {
    if (this.#perMs === Infinity || this.#paidAtMs === undefined) return this.#paid;
    return this.#paid + (nowMs - this.#paidAtMs) * this.#perMs;
  }
}

/** A session of its own, with nobody to share with. */
class SessionRate implements RateLimiter {
  readonly cause = 'sessionRate';
  readonly pieceBytes: number;
  readonly #account: Account;

  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#account = new Account(bytesPerSecond, burstBytes);
    this.pieceBytes = pieceBytesAt(bytesPerSecond);
  }

  spend(bytes: number, nowMs: number): number {
    return this.#account.take(bytes, nowMs);
  }
}

const RATE_KEYS: KeysOf<RateOptions> = { bytesPerSecond: true, burstBytes: true };

/** @throws RangeError for a negative or non-finite rate or burst, TypeError for an unknown key */
export function checkRate(options: RateOptions): Required<RateOptions> {
  checkKeys(options, RATE_KEYS, 'a rate');
  const { bytesPerSecond, burstBytes = DEFAULT_BURST_BYTES } = options;
  if (!Number.isFinite(bytesPerSecond) || bytesPerSecond < 0) throw new RangeError(`not a rate: ${bytesPerSecond}`);
  if (!Number.isFinite(burstBytes) || burstBytes < 0) throw new RangeError(`not a burst: ${burstBytes}`);
  return { bytesPerSecond, burstBytes };
}

/** A limit for one session: a burst at once, then the rate. @throws as `checkRate` */
export function rateLimiter(options: RateOptions): RateLimiter {
  const { bytesPerSecond, burstBytes } = checkRate(options);
  return bytesPerSecond === 0 ? UNLIMITED : new SessionRate(bytesPerSecond, burstBytes);
}
