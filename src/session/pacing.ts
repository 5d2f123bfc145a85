/**
 * The pacing of an archive: the limits that hold for a session, each of them an option or a function of the user's. A
 * session goes as fast as the slowest of them lets it.
 */
import { checkKeys, type KeysOf } from '../option-keys.ts';
import { type RecordingFirst, type RecordingFirstOptions } from './recording-first.ts';
import {
  checkRate,
  MAX_PIECE_BYTES,
  rateLimiter,
  type RateLimiter,
  type RateOptions,
  type StallCause,
  UNLIMITED,
} from './rate.ts';
import { type RealTimeOptions, realTimePolicy } from './real-time.ts';
import { ClientRates, Share, SharedRate } from './shares.ts';

/** What a policy is told of a session: one sending of one answer. */
export interface SessionTraits {
  /** Name of the camera. */
  readonly camera: string;
  /** Address of the client; '' where the target is no connection, or has none (a Unix socket). */
  readonly clientAddress: string;
  /** Bytes that will be sent. */
  readonly lengthBytes: number;
  /** Media in what will be sent, ms; 0 for playlists and the files of HLS. */
  readonly mediaMs: number;
  /** Media in the first `bytes` of what will be sent, ms. What a player needs before any media is 0. */
  readonly mediaMsIn: (bytes: number) => number;
}

/** Makes the limit of a session: a rate, or a limiter of its own. */
export type PacingPolicy = (session: SessionTraits) => RateLimiter | RateOptions;

/** Limits that hold together. Each can be replaced by a function. */
export interface PacingOptions {
  /** Of each session. Default none. */
  readonly session?: RateOptions | PacingPolicy;
  /** Of all sessions of one client address together. Default none. */
  readonly client?: RateOptions | PacingPolicy;
  /** Of all sessions together, in equal shares. Default none. */
  readonly server?: RateOptions | PacingPolicy;
  /** Of each session, by what a player shows: not of HLS. Default none. */
  readonly realTime?: RealTimeOptions | PacingPolicy;
  /** Exports slow down before a recorder waits. Default true. */
  readonly recordingFirst?: boolean | RecordingFirstOptions;
}

const KEYS: KeysOf<PacingOptions> = {
  session: true,
  client: true,
  server: true,
  realTime: true,
  recordingFirst: true,
};

/** A function alone takes the place of all limits but recording first. @throws TypeError for an unknown key */
export function pacingOptions(pacing: PacingOptions | PacingPolicy = {}): PacingOptions {
  if (typeof pacing === 'function') return { session: pacing };
  checkKeys(pacing, KEYS, 'pacing');
  return pacing;
}

export class Pacing {
  /** What all sessions together may have, bytes per second; null: no limit, or a function's. */
  readonly serverBytesPerSecond: number | null;
  readonly #session: PacingPolicy;
  /** The other limits. */
  readonly #others: readonly PacingPolicy[];

  /** @throws RangeError, TypeError */
  constructor(options: PacingOptions, recordingFirst: RecordingFirst | undefined) {
    const { session, client, server, realTime } = options;
    this.#session = typeof session === 'function' ? session : sessionPolicy(session);
    this.#others = [
      typeof realTime === 'function' ? realTime : realTimePolicy(realTime),
      typeof client === 'function' ? client : clientPolicy(client),
      typeof server === 'function' ? server : serverPolicy(server),
      recordingPolicy(recordingFirst),
    ].filter((policy) => policy !== undefined);
    const rate = typeof server === 'function' ? 0 : (server?.bytesPerSecond ?? 0);
    this.serverBytesPerSecond = rate === 0 ? null : rate;
  }

  /** The limit of a session; `own` takes the place of that of each session. */
  limiter(traits: SessionTraits, own?: RateOptions | RateLimiter): RateLimiter {
    const session = own === undefined ? this.#session : () => own;
    const limiters: RateLimiter[] = [];
    try {
      for (const policy of [session, ...this.#others]) limiters.push(limiterOf(policy(traits)));
    } catch (error) {
      // A function of the user's has failed: the session never begins, and it is that error which tells why.
      endAll(limiters);
      throw error;
    }
    return together(limiters);
  }
}

const limiterOf = (limit: RateLimiter | RateOptions): RateLimiter => ('spend' in limit ? limit : rateLimiter(limit));

function sessionPolicy(options: RateOptions | undefined): PacingPolicy {
  if (options === undefined) return () => UNLIMITED;
  checkRate(options);
  return () => rateLimiter(options);
}

function clientPolicy(options: RateOptions | undefined): PacingPolicy | undefined {
  if (options === undefined || checkRate(options).bytesPerSecond === 0) return undefined;
  const clients = new ClientRates(options);
  return ({ clientAddress, lengthBytes }) => clients.share(clientAddress, performance.now(), lengthBytes);
}

function serverPolicy(options: RateOptions | undefined): PacingPolicy | undefined {
  if (options === undefined) return undefined;
  const { bytesPerSecond, burstBytes } = checkRate(options);
  if (bytesPerSecond === 0) return undefined;
  const rate = new SharedRate(bytesPerSecond, burstBytes);
  return ({ lengthBytes }) => new Share(rate, { cause: 'serverRate', beganMs: performance.now(), lengthBytes });
}

function recordingPolicy(recordingFirst: RecordingFirst | undefined): PacingPolicy | undefined {
  return recordingFirst && (({ lengthBytes }) => recordingFirst.share(performance.now(), lengthBytes));
}

/** All limits hold: the smallest piece, the longest wait. */
export function together(limiters: readonly RateLimiter[]): RateLimiter {
  const limits = limiters.filter((limiter) => limiter !== UNLIMITED);
  const [only = UNLIMITED] = limits;
  return limits.length < 2 ? only : new Together(limits);
}

/** Ends all of them, even if the end of one fails; what failed. */
function endAll(limiters: readonly RateLimiter[]): readonly unknown[] {
  const failures: unknown[] = [];
  for (const limiter of limiters) {
    try {
      limiter.end?.();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

class Together implements RateLimiter {
  readonly #limits: readonly RateLimiter[];
  #cause: StallCause = 'policy';

  constructor(limits: readonly RateLimiter[]) {
    this.#limits = limits;
  }

  get cause(): StallCause {
    return this.#cause;
  }

  get pieceBytes(): number {
    let bytes = MAX_PIECE_BYTES;
    for (const limit of this.#limits) bytes = Math.min(bytes, limit.pieceBytes);
    return bytes;
  }

  /** Each is told, whoever makes it wait. */
  spend(bytes: number, nowMs: number): number {
    return this.#longest((limit) => limit.spend(bytes, nowMs));
  }

  owedMs(nowMs: number): number {
    return this.#longest((limit) => limit.owedMs?.(nowMs) ?? 0);
  }

  #longest(waitMsOf: (limit: RateLimiter) => number): number {
    let longestMs = 0;
    for (const limit of this.#limits) {
      const waitMs = waitMsOf(limit);
      if (waitMs <= longestMs) continue;
      longestMs = waitMs;
      this.#cause = limit.cause ?? 'policy';
    }
    return longestMs;
  }

  end(): void {
    const [failure] = endAll(this.#limits);
    if (failure !== undefined) throw failure;
  }
}
