/**
 * Leases keep the segments of an answer that is being sent, and for ten minutes more, so that a resume finds its bytes. A
 * player asks for one answer in many pieces, and a server has thousands of clients: a lease is written once a minute at
 * most, for a minute longer than it is promised.
 */
import { guarded } from '../catalog/recover-camera.ts';
import { type Sleeper, Wakeups } from '../wakeups.ts';

/** A lease outlives its connection by this long. */
const LEASE_MS = 10 * 60_000;
/** A lease that was written within such a time is as good as a new one. */
const FRESH_MS = 60_000;

/** Writes a lease into the catalog: its name, UUIDs of segments, now and its end, Unix ms. */
export type WriteLease = (id: string, segments: readonly string[], nowUtcMs: number, untilUtcMs: number) => void;

/** What is leased, and the wall clock, Unix ms. */
export interface Leased {
  readonly id: string;
  readonly segments: readonly string[];
  readonly now: () => number;
}

/** One timer for all that is being sent. */
const renewals = new Wakeups({ keepsProcess: false });

export class Leases {
  readonly #write: WriteLease;
  /** When each was written, the oldest first. */
  readonly #written = new Map<string, number>();

  constructor(write: WriteLease) {
    this.#write = write;
  }

  /**
   * Keeps segments for ten minutes from now. Answers of one name have the same segments. A full disk takes no lease, and
   * must not keep footage from being read either: that is a warning.
   */
  renew({ id, segments, now }: Leased): void {
    const nowUtcMs = now();
    if (this.#isFresh(this.#written.get(id), nowUtcMs)) return;
    guarded(() => {
      this.#write(id, segments, nowUtcMs, nowUtcMs + LEASE_MS + FRESH_MS);
      this.#note(id, nowUtcMs);
    });
  }

  /** Renews again and again, however slow the client is, until what is returned is called, which renews a last time. */
  hold(leased: Leased): () => void {
    const renewal: Sleeper = {
      wakeTick: undefined,
      wake: () => {
        this.renew(leased);
        sleep();
      },
    };
    const sleep = (nowMs = performance.now()): void => renewals.add(renewal, nowMs + FRESH_MS, nowMs);
    sleep();
    return () => {
      renewals.cancel(renewal);
      this.renew(leased);
    };
  }

  #note(id: string, nowUtcMs: number): void {
    this.#written.delete(id);
    this.#written.set(id, nowUtcMs);
    for (const [oldest, atUtcMs] of this.#written) {
      if (this.#isFresh(atUtcMs, nowUtcMs)) break;
      this.#written.delete(oldest);
    }
  }

  /** A clock that was stepped back says nothing about how old a lease is. */
  #isFresh(atUtcMs: number | undefined, nowUtcMs: number): boolean {
    return atUtcMs !== undefined && nowUtcMs >= atUtcMs && nowUtcMs - atUtcMs < FRESH_MS;
  }
}
