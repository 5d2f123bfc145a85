/**
 * A rate that several sessions share, in equal parts.
 *
 * Sessions reserve quanta of it, one behind the other, and use what they have reserved in pieces of any size. So who
 * always has something to send gets one quantum a round, as everybody else; who is held up by its own client reserves
 * nothing meanwhile, and the others have all of the rate. The more sessions, the smaller the quantum: a round stays short.
 */
import {
  Account,
  checkRate,
  CHEAP_PIECE_BYTES,
  pieceBytesAt,
  type RateLimiter,
  type RateOptions,
  type StallCause,
} from './rate.ts';

/** Round of slow sessions, seconds: who comes last waits so long, and the times of a session are not as even as alone. */
const ROUND_S = 0.6;
/** Sessions that reserved within such a time count as active: longer than a round. */
const ROLL_CALL_MS = 2000;

export class SharedRate {
  readonly #account: Account;
  /** Who has reserved since the last roll call, and how many had before it. */
  #rollCall = 0;
  #calledAtMs = -Infinity;
  #present = 0;
  #before = 0;
  #quantumBytes: number;

  /** `bytesPerSecond` may be infinite. */
  constructor(bytesPerSecond: number, burstBytes: number) {
    this.#account = new Account(bytesPerSecond, burstBytes);
    this.#quantumBytes = pieceBytesAt(bytesPerSecond, ROUND_S);
  }

  get bytesPerSecond(): number {
    return this.#account.unitsPerSecond;
  }

  /** From now on, also for what is reserved. */
  setRate(bytesPerSecond: number, nowMs: number): void {
    this.#account.setRate(bytesPerSecond, nowMs);
    this.#measure();
  }

  /** No limit from now on, and nothing is owed any more. */
  lift(): void {
    this.#account.lift();
    this.#measure();
  }

  /** What a session reserves at once, bytes. */
  get quantumBytes(): number {
    return this.#quantumBytes;
  }

  /** Notes that a session is active; `lastCall` is what this returned to it the last time. */
  answer(lastCall: number, nowMs: number): number {
    const calls = Math.floor((nowMs - this.#calledAtMs) / ROLL_CALL_MS);
    if (calls >= 1) {
      // Nobody answered the calls between, if there were any.
      this.#before = calls === 1 ? this.#present : 0;
      this.#present = 0;
      this.#rollCall++;
      this.#calledAtMs = nowMs;
    }
    if (lastCall !== this.#rollCall) {
      this.#present++;
      this.#measure();
    }
    return this.#rollCall;
  }

  #measure(): void {
    const active = Math.max(1, this.#present, this.#before);
    this.#quantumBytes = pieceBytesAt(this.#account.unitsPerSecond / active, ROUND_S);
  }

  /** Reserves bytes behind all that is reserved already; how long until they are paid, ms. */
  reserve(bytes: number, nowMs: number): number {
    return this.#account.take(bytes, nowMs);
  }

  /** Behind all that is reserved: who waits for it to be paid remembers it. */
  get position(): number {
    return this.#account.position;
  }

  /** How long until all is paid up to a position, ms. */
  owedMs(nowMs: number, position: number): number {
    return this.#account.owedMs(nowMs, position);
  }

  giveBack(bytes: number): void {
    this.#account.giveBack(bytes);
  }

  isFull(nowMs: number): boolean {
    return this.#account.isFull(nowMs);
  }
}

/** Of a session that has not answered a roll call yet. */
const NEVER = -1;

export interface ShareOptions {
  readonly cause: StallCause;
  /** When the session begins, ms of the clock that `spend` is told. */
  readonly beganMs: number;
  /** What the session will send, bytes. Default: without end. */
  readonly lengthBytes?: number | undefined;
  readonly onEnd?: () => void;
}

/** What one session has of a shared rate. */
export class Share implements RateLimiter {
  readonly cause: StallCause;
  readonly #rate: SharedRate;
  readonly #onEnd: (() => void) | undefined;
  /** Who goes by in one piece does not take part in the rounds, and must not make them shorter. */
  readonly #isCounted: boolean;
  /** Reserved and not used yet. */
  #reservedBytes = 0;
  /** What has to be paid before it may send. */
  #position: number | undefined;
  #call = NEVER;

  constructor(rate: SharedRate, { cause, beganMs, lengthBytes = Infinity, onEnd }: ShareOptions) {
    this.#rate = rate;
    this.cause = cause;
    this.#isCounted = lengthBytes > CHEAP_PIECE_BYTES;
    this.#onEnd = onEnd;
    // Counted before it sends: when many begin at once, the first of them must not take it for all its own.
    if (this.#isCounted) this.#call = rate.answer(NEVER, beganMs);
  }

  get pieceBytes(): number {
    return this.#rate.quantumBytes;
  }

  spend(bytes: number, nowMs: number): number {
    if (this.#isCounted) this.#call = this.#rate.answer(this.#call, nowMs);
    this.#reservedBytes -= bytes;
    // Without a limit nothing is reserved: it would be there for nothing when there is one.
    if (this.#rate.bytesPerSecond === Infinity) this.#reservedBytes = 0;
    if (this.#reservedBytes >= 0) return 0;
    const quantum = this.#rate.quantumBytes;
    // More than one only where a piece was cut before the quantum became smaller.
    const wanted = Math.ceil(-this.#reservedBytes / quantum) * quantum;
    this.#reservedBytes += wanted;
    const waitMs = this.#rate.reserve(wanted, nowMs);
    this.#position = this.#rate.position;
    return waitMs;
  }

  /** Before the first piece: until what others have reserved by then is paid. Later: until its own is. */
  owedMs(nowMs: number): number {
    this.#position ??= this.#rate.position;
    return this.#rate.owedMs(nowMs, this.#position);
  }

  end(): void {
    this.#rate.giveBack(Math.max(0, this.#reservedBytes));
    this.#reservedBytes = 0;
    this.#onEnd?.();
  }
}

interface ClientRate {
  readonly rate: SharedRate;
  sessions: number;
}

/** Fewer clients than this are never looked through. */
const FEW_CLIENTS = 64;

/** A shared rate for each address. One that is as if it were new is forgotten when room is made for others. */
export class ClientRates {
  readonly #options: Required<RateOptions>;
  readonly #clients = new Map<string, ClientRate>();
  #sweepAt = FEW_CLIENTS;

  /** @throws RangeError, TypeError */
  constructor(options: RateOptions) {
    this.#options = checkRate(options);
  }

  /** Clients that are remembered. */
  get size(): number {
    return this.#clients.size;
  }

  /** A share of the rate of `address`; who has no address shares with nobody. */
  share(address: string, nowMs: number, lengthBytes?: number): Share {
    const client = address === '' ? this.#client() : this.#known(address, nowMs);
    client.sessions++;
    const onEnd = () => client.sessions--;
    return new Share(client.rate, { cause: 'clientRate', beganMs: nowMs, lengthBytes, onEnd });
  }

  #known(address: string, nowMs: number): ClientRate {
    const known = this.#clients.get(address);
    if (known !== undefined) return known;
    if (this.#clients.size >= this.#sweepAt) this.#sweep(nowMs);
    const client = this.#client();
    this.#clients.set(address, client);
    return client;
  }

  #client(): ClientRate {
    return { rate: new SharedRate(this.#options.bytesPerSecond, this.#options.burstBytes), sessions: 0 };
  }

  #sweep(nowMs: number): void {
    for (const [address, { rate, sessions }] of this.#clients) {
      if (sessions === 0 && rate.isFull(nowMs)) this.#clients.delete(address);
    }
    this.#sweepAt = Math.max(FEW_CLIENTS, 2 * this.#clients.size);
  }
}
