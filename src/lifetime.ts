/**
 * From the opening of an object to its closing, with calls under way: which calls there are, how closing ends those that
 * take long, and that nothing begins behind it. Knows nothing of what is opened. Loop thread only.
 *
 * Invariant: `release` runs once, when no call is under way any more and none can begin.
 */
import { FootageError } from './errors.ts';

export class Lifetime {
  readonly #what: string;
  /** Calls under way: closing waits for them. */
  readonly #running = new Set<Promise<unknown>>();
  /** Those among them that take long: closing aborts them. */
  readonly #stops = new Set<AbortController>();
  #closed: Promise<void> | undefined;

  /** `what` is named in messages. */
  constructor(what: string) {
    this.#what = what;
  }

  /** @throws FootageError E_CLOSED once closing has begun */
  check(): void {
    if (this.#closed !== undefined) throw new FootageError('E_CLOSED', `The ${this.#what} is closed: open it again.`);
  }

  /** Runs a call that closing waits for. @throws FootageError E_CLOSED, and what the call throws */
  async run<T>(call: () => Promise<T>): Promise<T> {
    this.check();
    const running = call();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** As `run`, with a signal that aborts with `signal`, and with E_CLOSED as its reason when closing begins. */
  runUntil<T>(signal: AbortSignal | undefined, call: (stop: AbortSignal) => Promise<T>): Promise<T> {
    return this.run(() => this.#stoppable(signal, call));
  }

  async #stoppable<T>(signal: AbortSignal | undefined, call: (stop: AbortSignal) => Promise<T>): Promise<T> {
    // Not AbortSignal.any: a signal that lives as long as a server would remember every call of its life.
    const stop = new AbortController();
    const abort = () => stop.abort(signal?.reason);
    signal?.addEventListener('abort', abort, { once: true });
    if (signal?.aborted === true) abort();
    this.#stops.add(stop);
    try {
      return await call(stop.signal);
    } finally {
      this.#stops.delete(stop);
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Iterates `items`; closing waits for the step under way, and the one behind it throws E_CLOSED. */
  async *iterate<T>(items: () => AsyncGenerator<T, void, undefined>): AsyncGenerator<T, void, undefined> {
    this.check();
    const iterator = items();
    try {
      for (;;) {
        const { done, value } = await this.run(() => iterator.next());
        if (done === true) return;
        yield value;
      }
    } finally {
      await iterator.return(undefined);
    }
  }

  /** Ends what can be ended, waits for every call, then releases. Idempotent: later calls wait for the first. */
  close(release: () => Promise<void>): Promise<void> {
    this.#closed ??= this.#close(release);
    return this.#closed;
  }

  async #close(release: () => Promise<void>): Promise<void> {
    const reason = new FootageError('E_CLOSED', `The ${this.#what} was closed while this was under way.`);
    for (const stop of this.#stops) stop.abort(reason);
    await Promise.allSettled(this.#running);
    await release();
  }
}
