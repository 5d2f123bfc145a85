/**
 * Who waits for a sender: for its next notification, or for its queue to be empty. Holds promises and nothing else; the
 * sender says when.
 */

interface Drain {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class Waiters {
  #hints: (() => void)[] = [];
  #drains: Drain[] = [];

  hint(): Promise<void> {
    return new Promise((resolve) => {
      this.#hints.push(resolve);
    });
  }

  drained(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#drains.push({ resolve, reject });
    });
  }

  notify(): void {
    const hints = this.#hints;
    this.#hints = [];
    for (const resolve of hints) resolve();
  }

  /** The queue is empty. */
  settleDrained(): void {
    if (this.#drains.length === 0) return;
    const drains = this.#drains;
    this.#drains = [];
    for (const drain of drains) drain.resolve();
  }

  /** The sender closed with bytes in its queue, or may have. */
  failDrained(error: Error): void {
    const drains = this.#drains;
    this.#drains = [];
    for (const drain of drains) drain.reject(error);
  }
}
