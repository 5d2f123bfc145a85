/**
 * Counters of pass 2 over the life of an archive. Kept by what happens anyway (a piece, a wait, an end): nothing is
 * counted per byte, and there is no timer.
 */
import { FootageError, type ErrorCode } from '../errors.ts';
import type { Sender, SenderState } from '../sender/sender.ts';
import type { StallCause } from './rate.ts';

/** How often, and for how long in all. */
export interface Stalls {
  readonly count: number;
  readonly ms: number;
}

export interface SendingStats {
  readonly sessions: {
    /** Under way now. */
    readonly active: number;
    readonly begun: number;
    readonly completed: number;
    /** By error code; `aborted` where the caller's signal ended it, `other` for what has no code. */
    readonly failed: Readonly<Partial<Record<ErrorCode | 'aborted' | 'other', number>>>;
  };
  /** Handed to the kernel by the addon's senders, taken by streams; of sessions under way so far. */
  readonly bytes: Readonly<Record<Sender['kind'], number>>;
  /**
   * Waits that have ended, by what was waited for: `client` is a sender at its soft barrier (its client is slow, or its
   * disk, or it waits for a thread), all others are limits.
   */
  readonly stalls: Readonly<Record<StallCause, Stalls>>;
  /** Time in each state of the sender, ms, over all sessions, by the state that was seen last. */
  readonly stateMs: Readonly<Record<OpenState, number>>;
  /** Working out or finding the next bytes of answers under way (pass 1 is counted apart), ms. */
  readonly preparingMs: number;
}

export type OpenState = Exclude<SenderState, 'closed'>;

/** Why a session has ended before its time. */
export interface Failure {
  readonly error: unknown;
  /** The caller's signal ended it, and the error is its reason, whatever that is. */
  readonly isAborted: boolean;
}

const NO_STALLS: Record<StallCause, Stalls> = {
  client: { count: 0, ms: 0 },
  sessionRate: { count: 0, ms: 0 },
  clientRate: { count: 0, ms: 0 },
  serverRate: { count: 0, ms: 0 },
  realTime: { count: 0, ms: 0 },
  recordingFirst: { count: 0, ms: 0 },
  policy: { count: 0, ms: 0 },
};

export class SendingCounters {
  readonly #active = new Set<SessionMeter>();
  #begun = 0;
  #completed = 0;
  readonly #failed: Partial<Record<ErrorCode | 'aborted' | 'other', number>> = {};
  readonly #bytes = { native: 0, stream: 0 };
  readonly #stalls = { ...NO_STALLS };
  readonly #stateMs = { ready: 0, overloaded: 0, softLimit: 0, hardLimit: 0 };
  #preparingMs = 0;

  /** A session begins: its meter, which is told of everything until `end`. */
  begin(): SessionMeter {
    const meter = new SessionMeter(this);
    this.#begun++;
    this.#active.add(meter);
    return meter;
  }

  /** @internal Of a meter. */
  end(meter: SessionMeter, failure: Failure | undefined): void {
    this.#active.delete(meter);
    const { sender } = meter;
    if (sender !== undefined) this.#bytes[sender.kind] += sender.sent();
    if (failure === undefined) this.#completed++;
    else {
      const code = failureName(failure);
      this.#failed[code] = (this.#failed[code] ?? 0) + 1;
    }
  }

  /** @internal Of a meter. */
  addState(state: OpenState, ms: number): void {
    this.#stateMs[state] += ms;
  }

  /** @internal Of a meter. */
  addStall(cause: StallCause, ms: number): void {
    const stalls = this.#stalls[cause];
    this.#stalls[cause] = { count: stalls.count + 1, ms: stalls.ms + ms };
  }

  /** @internal Of a meter. */
  addPreparing(ms: number): void {
    this.#preparingMs += ms;
  }

  snapshot(): SendingStats {
    const nowMs = performance.now();
    for (const meter of this.#active) meter.settle(nowMs);
    const bytes = { ...this.#bytes };
    for (const { sender } of this.#active) if (sender !== undefined) bytes[sender.kind] += sender.sent();
    return {
      sessions: {
        active: this.#active.size,
        begun: this.#begun,
        completed: this.#completed,
        failed: { ...this.#failed },
      },
      bytes,
      stalls: { ...this.#stalls },
      stateMs: { ...this.#stateMs },
      preparingMs: this.#preparingMs,
    };
  }
}

function failureName({ error, isAborted }: Failure): ErrorCode | 'aborted' | 'other' {
  if (isAborted) return 'aborted';
  return error instanceof FootageError ? error.code : 'other';
}

/** What one session reports. */
export class SessionMeter {
  /** Once there is one. */
  sender: Sender | undefined;
  readonly #counters: SendingCounters;
  #state: SenderState = 'closed';
  #sinceMs = 0;

  constructor(counters: SendingCounters) {
    this.#counters = counters;
  }

  /** The state that was seen at `nowMs`. */
  observe(state: SenderState, nowMs: number): void {
    if (state === this.#state) return;
    this.settle(nowMs);
    this.#state = state;
  }

  /** Counts the time in the present state up to now. */
  settle(nowMs: number): void {
    if (this.#state !== 'closed') this.#counters.addState(this.#state, nowMs - this.#sinceMs);
    this.#sinceMs = nowMs;
  }

  stalled(cause: StallCause, ms: number): void {
    this.#counters.addStall(cause, ms);
  }

  prepared(ms: number): void {
    this.#counters.addPreparing(ms);
  }

  /** The end of the session, and what it failed of. */
  end(failure?: Failure): void {
    this.settle(performance.now());
    this.#counters.end(this, failure);
  }
}
