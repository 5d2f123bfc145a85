/**
 * Lets only so many cameras be connected at once: hundreds that begin together, or come back together after the power
 * was out, would all be slow. Those that wait go in the order in which they came. An attempt that takes long goes on
 * without its place: cameras that do not answer must not keep those waiting that would.
 */
export class ConnectGate {
  #free: number;
  readonly #holdMs: number;
  readonly #waiting = new Set<() => void>();

  constructor(places: number, holdMs: number) {
    this.#free = places;
    this.#holdMs = holdMs;
  }

  /** Runs `attempt` when there is a place. Aborting ends the wait with the signal's reason. */
  async run<T>(attempt: () => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free--;
    else await this.#turn(signal);
    let isHeld = true;
    const leave = () => {
      if (isHeld) this.#release();
      isHeld = false;
    };
    const timer = setTimeout(leave, this.#holdMs);
    try {
      return await attempt();
    } finally {
      clearTimeout(timer);
      leave();
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(enter);
        reject(signal.reason as Error);
      };
      const enter = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(enter);
    });
  }

  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
