/**
 * A session: one planned answer, and its sending. Planning froze its end; sending may be repeated, for other ranges.
 */
import type { Native } from '../native-types.ts';
import { type SendTarget, senderFor } from '../sender/for-target.ts';
import type { Sender, SenderOptions } from '../sender/sender.ts';
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
  /** Runs a send until `signal` aborts or the archive closes, which waits for it. Rejects when it is too late to begin. */
  readonly run: (send: (stop: AbortSignal) => Promise<void>, signal: AbortSignal | undefined) => Promise<void>;
  /** Keeps the segments of this session from now until the given time, Unix ms. */
  readonly lease: (id: string, segments: readonly string[], nowUtcMs: number, untilUtcMs: number) => void;
  readonly now: () => number;
}

export class Session {
  readonly manifest: Manifest;
  readonly #file: VirtualFile;
  readonly #deps: SessionDeps;

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
    // Named after the answer: a player that asks for one answer in many pieces renews one lease.
    const nowUtcMs = this.#deps.now();
    this.#deps.lease(this.etag, this.manifest.segments, nowUtcMs, nowUtcMs + LEASE_MS);
  }

  /**
   * Sends the body bytes of `range` on `target`: a ServerResponse, an HTTP/2 response, a socket or any Writable. The
   * caller has set status and headers before and ends the answer afterwards. When it fails under way, the answer is
   * truncated and `target` destroyed, so that nobody takes it for whole.
   * @throws FootageError E_CLIENT_GONE, E_SENDER, E_IO, E_CLOSED; the signal's reason; RangeError for a range outside the
   * answer
   */
  send(target: SendTarget, options: SendOptions = {}): Promise<void> {
    return this.#deps.run((stop) => this.#send(target, options, stop), options.signal);
  }

  async #send(target: SendTarget, options: SendOptions, signal: AbortSignal): Promise<void> {
    const { range = { start: 0, end: this.length }, rate = this.#deps.rate } = options;
    if (!(range.start >= 0 && range.start <= range.end && range.end <= this.length)) {
      throw new RangeError(`the range ${range.start}..${range.end} does not lie in 0..${this.length}`);
    }
    const limiter = 'spend' in rate ? rate : rateLimiter(rate);
    const sender = await this.#sender(target, options, signal);
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

  /** An answer whose turn had not come yet when the signal aborted will never be whole: its target is destroyed. */
  async #sender(target: SendTarget, options: SendOptions, signal: AbortSignal): Promise<Sender> {
    try {
      return await senderFor(target, { ...options.sender, native: this.#deps.native, signal });
    } catch (error) {
      if (signal.aborted) target.destroy();
      throw error;
    }
  }

  /** The body bytes of `range` in memory-sized pieces, for a consumer that is no connection (a file, a test). */
  slices(range: ByteRange = { start: 0, end: this.length }) {
    return this.#file.slices(range);
  }
}
