/** The frames of a source, until somebody does not want any more of them. Knows nothing of frames. */

/**
 * Hands the items of `source` to `take`, one after the other, until `signal` aborts, even while the source keeps us waiting;
 * then the source is closed. Where `take` returns a promise it is awaited: with thousands of frames a second every promise
 * counts, and so does a generator in between (docs/decisions.md).
 */
export async function takeUntilAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
  take: (item: T) => Promise<void> | undefined,
): Promise<void> {
  const iterator = source[Symbol.asyncIterator]();
  let aborted = signal.aborted;
  // One listener for months of frames; it ends whatever wait is under way.
  let wake: (() => void) | undefined;
  const onAbort = () => {
    aborted = true;
    wake?.();
  };
  const nextOrAborted = () =>
    new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
      wake = () => resolve(undefined);
      iterator.next().then(resolve, reject);
    });
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (;;) {
      const next = aborted ? undefined : await nextOrAborted();
      if (next === undefined || next.done === true) return;
      const taking = take(next.value);
      if (taking !== undefined) await taking;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // A source that hangs would never answer: it is told, not awaited.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
