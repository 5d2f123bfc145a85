/**
 * Wakes sessions that wait for their limits, and watches over clients: one timer of Node for all of them, on a coarse grid
 * of time, so that thousands cost a handful of timers a second. Who is woken a little late loses nothing: limits go by the
 * clock.
 *
 * Invariant: the timer runs while somebody sleeps, and only then.
 */

/** Who can be woken. */
export interface Sleeper {
  /** Where on the grid it is woken; kept here by `Wakeups` alone, undefined while it is awake. */
  wakeTick: number | undefined;
  wake(): void;
}

/** Sessions that are due within such a time are woken together. */
const TICK_MS = 20;
/**
 * Who sleeps long is woken on a coarser grid, up to half a second late (limits allow for it: LATENESS_MS in
 * session/rate.ts): coming to life costs the process more than a session's piece does, since
 * nothing of it is in the processor's caches any more.
 */
const GRIDS: readonly { readonly fromMs: number; readonly ticks: number }[] = [
  { fromMs: 2000, ticks: 25 },
  { fromMs: 500, ticks: 3 },
];
/** While so few sleep, all of them may be woken at once: that hardly holds up the loop, and they share a wake-up. */
export const FEW_SLEEPERS = 64;
const GRIDS_OF_FEW: typeof GRIDS = [
  { fromMs: 2000, ticks: 25 },
  { fromMs: 500, ticks: 12 },
];
/** Longest time of a timer of Node, ms: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class Wakeups {
  /** Who is woken at each tick of the grid. */
  readonly #ticks = new Map<number, Set<Sleeper>>();
  #timer: NodeJS.Timeout | undefined;
  #timerTick = Infinity;
  #size = 0;
  readonly #keepsProcess: boolean;

  /** `keepsProcess`: whether the process must not end while somebody sleeps. */
  constructor({ keepsProcess }: { readonly keepsProcess: boolean }) {
    this.#keepsProcess = keepsProcess;
  }

  /** Number of sleepers. */
  get size(): number {
    return this.#size;
  }

  /** Wakes `sleeper` at `dueMs` of performance.now(), which is `nowMs` now; once. */
  add(sleeper: Sleeper, dueMs: number, nowMs: number): void {
    const grids = this.#size < FEW_SLEEPERS ? GRIDS_OF_FEW : GRIDS;
    const ticks = grids.find(({ fromMs }) => dueMs - nowMs >= fromMs)?.ticks ?? 1;
    const tick = Math.ceil(dueMs / TICK_MS / ticks) * ticks;
    this.#put(tick, sleeper);
    sleeper.wakeTick = tick;
    this.#size++;
    if (tick < this.#timerTick) this.#arm(tick);
  }

  #put(tick: number, sleeper: Sleeper): void {
    const others = this.#ticks.get(tick);
    if (others === undefined) this.#ticks.set(tick, new Set([sleeper]));
    else others.add(sleeper);
  }

  /** Forgets a sleeper. */
  cancel(sleeper: Sleeper): void {
    const { wakeTick } = sleeper;
    if (wakeTick === undefined) return;
    sleeper.wakeTick = undefined;
    const others = this.#ticks.get(wakeTick);
    others?.delete(sleeper);
    if (others?.size === 0) this.#ticks.delete(wakeTick);
    if (--this.#size === 0) this.#disarm();
  }

  #arm(tick: number): void {
    this.#disarm();
    this.#timerTick = tick;
    // One more, since timers of Node fire up to 1 ms early: nobody would be due, and it would be set again.
    const delayMs = Math.ceil(tick * TICK_MS - performance.now()) + 1;
    this.#timer = setTimeout(this.#ring, Math.min(Math.max(1, delayMs), MAX_TIMER_MS));
    if (!this.#keepsProcess) this.#timer.unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerTick = Infinity;
  }

  readonly #ring = (): void => {
    this.#timer = undefined;
    // Who sleeps again meanwhile sets no timer: who is next is known at the end.
    this.#timerTick = -Infinity;
    const nowTick = Math.floor(performance.now() / TICK_MS);
    try {
      for (const [tick, sleepers] of this.#ticks) if (tick <= nowTick) this.#wake(tick, sleepers);
    } finally {
      // Also when one has thrown: the error is nobody's but the process's, and the others must be woken all the same.
      this.#timerTick = Infinity;
      let next = Infinity;
      for (const tick of this.#ticks.keys()) next = Math.min(next, tick);
      if (next < Infinity) this.#arm(next);
    }
  };

  #wake(tick: number, sleepers: Set<Sleeper>): void {
    this.#ticks.delete(tick);
    try {
      for (const sleeper of sleepers) {
        sleepers.delete(sleeper);
        // One that is woken may cancel another.
        if (sleeper.wakeTick !== tick) continue;
        sleeper.wakeTick = undefined;
        this.#size--;
        sleeper.wake();
      }
    } finally {
      for (const sleeper of sleepers) if (sleeper.wakeTick === tick) this.#put(tick, sleeper);
    }
  }
}
