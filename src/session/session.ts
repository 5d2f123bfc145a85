/**
 * A session: one planned answer, and its sending. Planning froze its end; sending may be repeated, for other ranges.
 */
import { randomBytes } from 'node:crypto';
import type { Native } from '../native-types.ts';
import { type SendTarget, senderFor } from '../sender/for-target.ts';
import type { SenderOptions } from '../sender/sender.ts';
import type { Manifest, Plan } from './plan.ts';
import { rateLimiter, type RateLimiter, type RateOptions } from './rate.ts';
import { sendRange } from './send.ts';
import type { ByteRange, VirtualFile } from './virtual-file.ts';

/** A lease outlives its connection by this long, so that a resume finds its bytes. */
const LEASE_MS = 10 * 60_000;
const RENEW_MS = 60_000;

export interface SendOptions {
  /** Bytes [start, end) of the answer; default all. */
  readonly range?: ByteRange;
  readonly signal?: AbortSignal;
  /** Limit of this connection; default the archive's. A function of yours may take its place. */
  readonly rate?: RateOptions | RateLimiter;
  readonly sender?: SenderOptions;
}

export interface SessionDeps {
  readonly native: Native;
  readonly rate: RateOptions;
  /** Aborts when the archive closes; every send ends with it. */
  readonly closing: AbortSignal;
  /** Told of every send, so that closing can wait for it. */
  readonly track: (sending: Promise<void>) => void;
  /** Keeps the segments of this session until the given time, Unix ms. */
  readonly lease: (id: string, segments: readonly string[], untilUtcMs: number) => void;
  readonly now: () => number;
}

export class Session {
  readonly manifest: Manifest;
  readonly #file: VirtualFile;
  readonly #deps: SessionDeps;
  readonly #leaseId = randomBytes(16).toString('hex');

  constructor(plan: Plan, deps: SessionDeps) {
    this.manifest = plan.manifest;
    this.#file = plan.file;
    this.#deps = deps;
    this.#renewLease();
  }

  /** Bytes of the whole answer. */
  get length(): number {
    return this.#file.length;
  }

  /** Strong entity tag, with its quotes (RFC 9110 8.8.3). */
  get etag(): string {
    return this.#file.etag;
  }

  /** End of the last planned sample, rounded up to a second, Unix ms; may lie ahead. */
  get lastModifiedUtcMs(): number {
    return this.#file.lastModifiedUtcMs;
  }

  readonly contentType = 'video/mp4';

  #renewLease(): void {
    this.#deps.lease(this.#leaseId, this.manifest.segments, this.#deps.now() + LEASE_MS);
  }

  /**
   * Sends the body bytes of `range` on `target`: a ServerResponse, an HTTP/2 response, a socket or any Writable. The
   * caller has set status and headers before and ends the answer afterwards. When it fails under way, the answer is
   * truncated and `target` destroyed, so that nobody takes it for whole.
   * @throws FootageError E_CLIENT_GONE, E_SENDER, E_IO, E_CLOSED; the signal's reason; RangeError for a range outside the
   * answer
   */
  send(target: SendTarget, options: SendOptions = {}): Promise<void> {
    const sending = this.#send(target, options);
    this.#deps.track(sending);
    return sending;
  }

  async #send(target: SendTarget, options: SendOptions): Promise<void> {
    const { range = { start: 0, end: this.length }, rate = this.#deps.rate } = options;
    const signal = options.signal ? AbortSignal.any([options.signal, this.#deps.closing]) : this.#deps.closing;
    if (!(range.start >= 0 && range.start <= range.end && range.end <= this.length)) {
      throw new RangeError(`the range ${range.start}..${range.end} does not lie in 0..${this.length}`);
    }
    const limiter = 'spend' in rate ? rate : rateLimiter(rate);
    const sender = await senderFor(target, { ...options.sender, native: this.#deps.native });
    let renewAtMs = performance.now() + RENEW_MS;
    const onPiece = () => {
      if (performance.now() < renewAtMs) return;
      renewAtMs = performance.now() + RENEW_MS;
      this.#renewLease();
    };
    try {
      await sendRange(this.#file, range, { sender, limiter, signal, onPiece });
    } catch (error) {
      target.destroy();
      throw error;
    } finally {
      sender.close();
      this.#renewLease();
    }
  }

  /** The body bytes of `range` in memory-sized pieces, for a consumer that is no connection (a file, a test). */
  slices(range: ByteRange = { start: 0, end: this.length }) {
    return this.#file.slices(range);
  }
}
