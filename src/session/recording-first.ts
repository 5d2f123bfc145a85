/**
 * Recording comes first: when the flushes of the recorders take too long, all exports together get a budget that
 * shrinks; when they are well again it grows, until nothing waits for it any more and it is lifted. While nothing is
 * recorded there is no limit. Time is an argument everywhere.
 *
 * It goes by what a flush takes, not by what a disk could: a disk that others keep busy is no different for a recorder.
 */
import { checkKeys, type KeysOf } from '../option-keys.ts';
import type { FlushObserver } from '../segment/flusher.ts';
import { MAX_PIECE_BYTES, type RateLimiter } from './rate.ts';
import { Share, SharedRate } from './shares.ts';

export interface RecordingFirstOptions {
  /** How much of the flush interval a flush may take before the exports slow down. Default 0.5. */
  readonly flushShare?: number;
  /** What all exports together get at least, bytes per second. Default 4,000,000: they never stop for good. */
  readonly minBytesPerSecond?: number;
}

export interface RecordingFirstState {
  /** Recordings under way: without any there is no limit. */
  readonly recordings: number;
  /** What all exports together may send now, bytes per second; null: no limit. */
  readonly budgetBytesPerSecond: number | null;
  /** How long the last flush of the recordings took, and the longest one, ms. */
  readonly flushMs: { readonly last: number; readonly max: number };
}

const KEYS: KeysOf<RecordingFirstOptions> = { flushShare: true, minBytesPerSecond: true };

/** Pieces while something is recorded: what the sender has can not be called back when the budget shrinks. */
const RECORDING_PIECE_BYTES = 4 * 2 ** 20;
const SHRINK = 0.6;
/** While flushes are well, and while they are still within their limit. */
const GROWTH_PER_S = 1.6;
const CAREFUL_GROWTH_PER_S = 1.1;
/** Nobody sleeps longer for a budget without asking again: it may have grown, or been lifted. */
const LONGEST_WAIT_MS = 1000;
/** A budget that nobody waited for in such a time has no effect. */
const WITHOUT_EFFECT_MS = 2000;

export class RecordingFirst implements FlushObserver {
  readonly #flushShare: number;
  readonly #minBytesPerSecond: number;
  readonly #budget = new SharedRate(Infinity, 0);
  readonly #sent = new Throughput();
  #recordings = 0;
  #flushBeganMs: number | undefined;
  #limitMs = Infinity;
  #shrunkAtMs = -Infinity;
  #grownAtMs = -Infinity;
  /** Until when somebody waits, or did, as far as it is known. */
  #waitedAtMs = -Infinity;
  #lastMs = 0;
  #maxMs = 0;

  /** @throws RangeError, TypeError */
  constructor(options: RecordingFirstOptions = {}) {
    checkKeys(options, KEYS, 'recordingFirst');
    const { flushShare = 0.5, minBytesPerSecond = 4_000_000 } = options;
    if (!(flushShare > 0 && flushShare <= 1)) throw new RangeError(`not a share above 0, up to 1: ${flushShare}`);
    if (!(minBytesPerSecond >= 1 && Number.isFinite(minBytesPerSecond)))
      throw new RangeError(`not a rate of 1 or more: ${minBytesPerSecond}`);
    this.#flushShare = flushShare;
    this.#minBytesPerSecond = minBytesPerSecond;
  }

  /** A recording begins; call what is returned when it has ended. */
  recording(): () => void {
    this.#recordings++;
    return () => {
      if (--this.#recordings === 0) this.#lift();
    };
  }

  began(nowMs: number, intervalMs: number): void {
    this.#flushBeganMs = nowMs;
    this.#limitMs = intervalMs * this.#flushShare;
  }

  ended(nowMs: number): void {
    if (this.#flushBeganMs === undefined) return;
    const tookMs = nowMs - this.#flushBeganMs;
    this.#flushBeganMs = undefined;
    if (this.#recordings === 0) return;
    this.#lastMs = tookMs;
    this.#maxMs = Math.max(this.#maxMs, tookMs);
    if (tookMs > this.#limitMs) this.#shrink(nowMs);
    else this.#grow(nowMs, tookMs <= this.#limitMs / 2 ? GROWTH_PER_S : CAREFUL_GROWTH_PER_S);
  }

  /** The part of a session that begins at `beganMs` and will send `lengthBytes`. */
  share(beganMs: number, lengthBytes?: number): RateLimiter {
    const share = new Share(this.#budget, { cause: 'recordingFirst', beganMs, lengthBytes });
    const spend = (bytes: number, nowMs: number) => this.#spend(share, bytes, nowMs);
    const pieceBytes = () =>
      this.#recordings === 0 ? MAX_PIECE_BYTES : Math.min(RECORDING_PIECE_BYTES, share.pieceBytes);
    const owedMs = (nowMs: number) => this.#waiting(share.owedMs(nowMs), nowMs);
    return {
      cause: share.cause,
      get pieceBytes() {
        return pieceBytes();
      },
      spend,
      owedMs,
      end: () => share.end(),
    };
  }

  state(): RecordingFirstState {
    const { bytesPerSecond } = this.#budget;
    return {
      recordings: this.#recordings,
      budgetBytesPerSecond: bytesPerSecond === Infinity ? null : Math.round(bytesPerSecond),
      flushMs: { last: this.#lastMs, max: this.#maxMs },
    };
  }

  #spend(share: Share, bytes: number, nowMs: number): number {
    if (this.#recordings === 0) return 0;
    this.#sent.add(bytes, nowMs);
    this.#judgeFlushUnderWay(nowMs);
    return this.#waiting(share.spend(bytes, nowMs), nowMs);
  }

  /** Notes that somebody has to wait so long; how long until it asks again. */
  #waiting(owedMs: number, nowMs: number): number {
    const waitMs = Math.min(LONGEST_WAIT_MS, owedMs);
    if (waitMs > 0) this.#waitedAtMs = Math.max(this.#waitedAtMs, nowMs + waitMs);
    return waitMs;
  }

  /** One that hangs must not be waited for: it may be the exports that it waits for. */
  #judgeFlushUnderWay(nowMs: number): void {
    if (this.#flushBeganMs === undefined) return;
    if (nowMs - this.#flushBeganMs > this.#limitMs) this.#shrink(nowMs);
  }

  #shrink(nowMs: number): void {
    // A budget acts on what is read from now on: how the flush goes that is under way tells little of it.
    if (nowMs - this.#shrunkAtMs < this.#limitMs) return;
    const sent = this.#sent.bytesPerSecond(nowMs);
    // Without exports it is not they who are in the way.
    if (sent === 0) return;
    this.#shrunkAtMs = nowMs;
    this.#grownAtMs = nowMs;
    this.#waitedAtMs = Math.max(this.#waitedAtMs, nowMs);
    const from = Math.min(this.#budget.bytesPerSecond, sent);
    this.#budget.setRate(Math.max(this.#minBytesPerSecond, from * SHRINK), nowMs);
  }

  #grow(nowMs: number, perS: number): void {
    if (this.#budget.bytesPerSecond === Infinity) return;
    if (nowMs - this.#waitedAtMs > WITHOUT_EFFECT_MS) return this.#lift();
    const elapsedS = Math.min(WITHOUT_EFFECT_MS, nowMs - this.#grownAtMs) / 1000;
    this.#grownAtMs = nowMs;
    this.#budget.setRate(this.#budget.bytesPerSecond * perS ** elapsedS, nowMs);
  }

  #lift(): void {
    this.#budget.lift();
  }
}

const WINDOW_MS = 1000;

/** Bytes per second over the last second, from the counts of two windows. */
class Throughput {
  #beganMs = -Infinity;
  #before = 0;
  #now = 0;

  add(bytes: number, nowMs: number): void {
    this.#turn(nowMs);
    this.#now += bytes;
  }

  bytesPerSecond(nowMs: number): number {
    this.#turn(nowMs);
    const passed = (nowMs - this.#beganMs) / WINDOW_MS;
    return this.#before * (1 - passed) + this.#now;
  }

  #turn(nowMs: number): void {
    const windows = Math.floor((nowMs - this.#beganMs) / WINDOW_MS);
    if (windows < 1) return;
    this.#before = windows === 1 ? this.#now : 0;
    this.#now = 0;
    this.#beganMs = windows === 1 ? this.#beganMs + WINDOW_MS : nowMs;
  }
}
