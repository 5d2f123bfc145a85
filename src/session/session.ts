/**
 * An answer: a virtual file and its sending, which may be repeated, for other ranges. A session is a planned one: planning
 * froze its end.
 */
import type { Native } from '../native-types.ts';
import { type SendTarget, senderFor } from '../sender/for-target.ts';
import type { Sender, SenderOptions } from '../sender/sender.ts';
import { type Multipart, multipartOf } from './multipart.ts';
import type { Manifest } from './manifest.ts';
import type { Plan } from './plan.ts';
import { rateLimiter, type RateLimiter, type RateOptions } from './rate.ts';
import { sendRange } from './send.ts';
import type { ByteRange, VirtualFile } from './virtual-file.ts';

/** A lease outlives its connection by this long, so that a resume finds its bytes. */
const LEASE_MS = 10 * 60_000;
const RENEW_MS = 60_000;

export interface SendOptions {
  /** Bytes [start, end) of the answer; default all. */
  readonly range?: ByteRange;
  /** Instead of `range`: these, in this order, as the body that `multipart` describes. */
  readonly ranges?: readonly ByteRange[];
  readonly signal?: AbortSignal;
  /** Limit of this connection; default the archive's. A function of yours may take its place. */
  readonly rate?: RateOptions | RateLimiter;
  readonly sender?: SenderOptions;
}

export interface AnswerDeps {
  readonly native: Native;
  readonly rate: RateOptions;
  /** Runs a send until `signal` aborts or the archive closes, which waits for it. Rejects when it is too late to begin. */
  readonly run: (send: (stop: AbortSignal) => Promise<void>, signal: AbortSignal | undefined) => Promise<void>;
  /** Keeps the segments of this answer from now until the given time, Unix ms. */
  readonly lease: (id: string, segments: readonly string[], nowUtcMs: number, untilUtcMs: number) => void;
  readonly now: () => number;
}

/** What an answer is made of. */
export interface AnswerParts {
  readonly file: VirtualFile;
  /** UUIDs of the segments that it needs. */
  readonly segments: readonly string[];
  readonly contentType: string;
}

export class Answer {
  /** `video/mp4`, or `audio/mp4` where no track is video (RFC 4337); that of a playlist. */
  readonly contentType: string;
  readonly #file: VirtualFile;
  readonly #segments: readonly string[];
  readonly #deps: AnswerDeps;

  constructor({ file, segments, contentType }: AnswerParts, deps: AnswerDeps) {
    this.contentType = contentType;
    this.#file = file;
    this.#segments = segments;
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

  /**
   * The body of a multipart/byteranges answer of these ranges, bytes [start, end) each: its type, which names the boundary,
   * and its length in bytes. The same ranges give the same body.
   * @throws RangeError for a range that is empty or outside of the answer, or for none at all
   */
  multipart(ranges: readonly ByteRange[]): { readonly contentType: string; readonly length: number } {
    const { contentType, body } = this.#multipart(ranges);
    return { contentType, length: body.length };
  }

  #multipart(ranges: readonly ByteRange[]): Multipart {
    return multipartOf(this.#file, ranges, this.contentType);
  }

  #renewLease(): void {
    // Named after the answer: a player that asks for one answer in many pieces renews one lease.
    const nowUtcMs = this.#deps.now();
    this.#deps.lease(this.etag, this.#segments, nowUtcMs, nowUtcMs + LEASE_MS);
  }

  /**
   * Sends the body bytes of `range`, or the body of `ranges`, on `target`: a ServerResponse, an HTTP/2 response, a socket
   * or any Writable. The caller has set status and headers before and ends the answer afterwards. When it fails under
   * way, the answer is truncated and `target` destroyed, so that nobody takes it for whole.
   * @throws FootageError E_CLIENT_GONE, E_SENDER, E_IO, E_CLOSED; the signal's reason; RangeError for a range outside the
   * answer
   */
  send(target: SendTarget, options: SendOptions = {}): Promise<void> {
    return this.#deps.run((stop) => this.#send(target, options, stop), options.signal);
  }

  async #send(target: SendTarget, options: SendOptions, signal: AbortSignal): Promise<void> {
    const { rate = this.#deps.rate } = options;
    const { file, range } = this.#body(options);
    const limiter = 'spend' in rate ? rate : rateLimiter(rate);
    const sender = await this.#sender(target, options, signal);
    let renewAtMs = performance.now() + RENEW_MS;
    const onPiece = () => {
      if (performance.now() < renewAtMs) return;
      renewAtMs = performance.now() + RENEW_MS;
      this.#renewLease();
    };
    try {
      await sendRange(file, range, { sender, limiter, signal, onPiece });
    } catch (error) {
      target.destroy();
      throw error;
    } finally {
      sender.close();
      this.#renewLease();
    }
  }

  /** The bytes that are asked for: a range of which file. */
  #body({ range, ranges }: SendOptions): { readonly file: VirtualFile; readonly range: ByteRange } {
    if (ranges !== undefined) {
      if (range !== undefined) throw new TypeError('a send has one range or several ranges, not both');
      const { body } = this.#multipart(ranges);
      return { file: body, range: { start: 0, end: body.length } };
    }
    const { start, end } = range ?? { start: 0, end: this.length };
    if (start >= 0 && start <= end && end <= this.length) return { file: this.#file, range: { start, end } };
    throw new RangeError(`the range ${start}..${end} does not lie in 0..${this.length}`);
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

export class Session extends Answer {
  readonly manifest: Manifest;

  constructor({ file, contentType, manifest }: Plan, deps: AnswerDeps) {
    super({ file, contentType, segments: manifest.segments }, deps);
    this.manifest = manifest;
  }
}
