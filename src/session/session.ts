/**
 * An answer: a virtual file and its sending, which may be repeated, for other ranges. A session is a planned one: planning
 * froze its end.
 */
import { Socket } from 'node:net';
import type { Native } from '../native-types.ts';
import { type SendTarget, senderFor } from '../sender/for-target.ts';
import type { Sender, SenderOptions } from '../sender/sender.ts';
import { MediaTimes } from './media-times.ts';
import { type Multipart, multipartOf } from './multipart.ts';
import type { Leased, Leases } from './leases.ts';
import type { Manifest } from './manifest.ts';
import type { Pacing, SessionTraits } from './pacing.ts';
import type { Plan } from './plan.ts';
import { MAX_PIECE_BYTES, type RateLimiter, type RateOptions } from './rate.ts';
import { sendRange } from './send.ts';
import type { SendingCounters, SessionMeter } from './sending-stats.ts';
import type { ByteRange, VirtualFile } from './virtual-file.ts';

/** A session that is paced has no more than so many pieces in its sender's queue: what is there cannot be called back. */
const QUEUED_PIECES = 2;

export interface SendOptions {
  /** Bytes [start, end) of the answer; default all. */
  readonly range?: ByteRange;
  /** Instead of `range`: these, in this order, as the body that `multipart` describes. */
  readonly ranges?: readonly ByteRange[];
  readonly signal?: AbortSignal;
  /** Limit of this connection instead of the archive's for each session; all others of the archive hold as well. */
  readonly rate?: RateOptions | RateLimiter;
  /** For limits by client. Default: that of the target's socket, which behind a proxy is the proxy's. */
  readonly clientAddress?: string | undefined;
  /** The default soft barrier of a session that is paced is two of its pieces. */
  readonly sender?: SenderOptions;
}

export interface AnswerDeps {
  readonly native: Native;
  /** Name of the camera. */
  readonly camera: string;
  readonly pacing: Pacing;
  readonly counters: SendingCounters;
  /** Runs a send until `signal` aborts or the archive closes, which waits for it. Rejects when it is too late to begin. */
  readonly run: (send: (stop: AbortSignal) => Promise<void>, signal: AbortSignal | undefined) => Promise<void>;
  readonly leases: Leases;
  readonly now: () => number;
}

/** What an answer is made of. */
export interface AnswerParts {
  readonly file: VirtualFile;
  /** UUIDs of the segments that it needs. */
  readonly segments: readonly string[];
  readonly contentType: string;
  /** Where its media lies in time. Default: nowhere. */
  readonly media?: MediaTimes;
}

/** What is sent, and of which media: `mediaMsIn` as policies are told it. */
interface Body extends Pick<SessionTraits, 'mediaMsIn'> {
  readonly file: VirtualFile;
  readonly range: ByteRange;
}

export class Answer {
  /** `video/mp4`, or `audio/mp4` where no track is video (RFC 4337); that of a playlist. */
  readonly contentType: string;
  readonly #file: VirtualFile;
  readonly #segments: readonly string[];
  readonly #media: MediaTimes;
  readonly #deps: AnswerDeps;

  constructor({ file, segments, contentType, media = MediaTimes.none }: AnswerParts, deps: AnswerDeps) {
    this.contentType = contentType;
    this.#file = file;
    this.#media = media;
    this.#segments = segments;
    this.#deps = deps;
    this.#deps.leases.renew(this.#leased);
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

  /** Named after the answer: a player that asks for one answer in many pieces renews one lease. */
  get #leased(): Leased {
    return { id: this.etag, segments: this.#segments, now: this.#deps.now };
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
    const body = this.#body(options);
    const limiter = this.#limiter(target, body, options);
    const meter = this.#deps.counters.begin();
    try {
      await this.#sendBody(target, body, { ...options, limiter, meter, signal });
      meter.end();
    } catch (error) {
      const isAborted = options.signal?.aborted === true && error === options.signal.reason;
      meter.end({ error, isAborted });
      throw error;
    } finally {
      limiter.end?.();
    }
  }

  #limiter(target: SendTarget, { range, mediaMsIn }: Body, options: SendOptions): RateLimiter {
    const lengthBytes = range.end - range.start;
    const clientAddress = options.clientAddress ?? addressOf(target);
    const { camera, pacing } = this.#deps;
    const traits: SessionTraits = {
      ...{ camera, clientAddress, lengthBytes, mediaMsIn },
      // Few policies ask.
      get mediaMs() {
        return mediaMsIn(lengthBytes);
      },
    };
    return pacing.limiter(traits, options.rate);
  }

  async #sendBody(target: SendTarget, { file, range }: Body, running: Running): Promise<void> {
    const { limiter, meter, signal } = running;
    const sender = await this.#sender(target, { ...running.sender, ...barriersOf(limiter, running.sender) }, signal);
    meter.sender = sender;
    const release = this.#deps.leases.hold(this.#leased);
    try {
      await sendRange(file, range, { sender, limiter, signal, meter });
    } catch (error) {
      target.destroy();
      throw error;
    } finally {
      sender.close();
      release();
    }
  }

  /** The bytes that are asked for: a range of which file. */
  #body({ range, ranges }: SendOptions): Body {
    if (ranges !== undefined) {
      if (range !== undefined) throw new TypeError('a send has one range or several ranges, not both');
      const { body } = this.#multipart(ranges);
      let mediaMs: number | undefined;
      const mediaMsIn = (bytes: number) => {
        mediaMs ??= ranges.reduce((sum, { start, end }) => sum + this.#media.between(start, end), 0);
        return (mediaMs * bytes) / body.length;
      };
      return { file: body, range: { start: 0, end: body.length }, mediaMsIn };
    }
    const { start, end } = range ?? { start: 0, end: this.length };
    if (!(start >= 0 && start <= end && end <= this.length)) {
      throw new RangeError(`the range ${start}..${end} does not lie in 0..${this.length}`);
    }
    const mediaMsIn = (bytes: number) => this.#media.between(start, start + bytes);
    return { file: this.#file, range: { start, end }, mediaMsIn };
  }

  /** An answer whose turn had not come yet when the signal aborted will never be whole: its target is destroyed. */
  async #sender(target: SendTarget, options: SenderOptions, signal: AbortSignal): Promise<Sender> {
    try {
      return await senderFor(target, { ...options, native: this.#deps.native, signal });
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

/** A send under way. */
interface Running extends Pick<SendOptions, 'sender'> {
  readonly limiter: RateLimiter;
  readonly meter: SessionMeter;
  readonly signal: AbortSignal;
}

/** What a session that is paced queues at most, unless the caller has said so. */
function barriersOf({ pieceBytes }: RateLimiter, given: SenderOptions = {}): SenderOptions {
  if (given.softBarrier !== undefined || pieceBytes >= MAX_PIECE_BYTES) return {};
  const bytes = Math.min(QUEUED_PIECES * pieceBytes, given.hardBarrier ?? Infinity);
  // A limiter of the user's may have pieces of any size: senders count whole bytes.
  return { softBarrier: Math.max(1, Math.floor(bytes)) };
}

/** IPv4 clients of a server that listens on IPv6 are told in the form of the latter. */
const MAPPED = /^::ffff:(?=\d+\.)/i;

function addressOf(target: SendTarget): string {
  const socket = target instanceof Socket ? target : 'req' in target ? target.req.socket : undefined;
  return (socket?.remoteAddress ?? '').replace(MAPPED, '');
}

export class Session extends Answer {
  readonly manifest: Manifest;

  constructor({ file, contentType, manifest, media }: Plan, deps: AnswerDeps) {
    super({ file, contentType, segments: manifest.segments, media }, deps);
    this.manifest = manifest;
  }
}
