/** The frames of a source, until somebody does not want any more of them. Knows nothing of frames. */

/** The items of `source` until `signal` aborts, even while it keeps us waiting; then the source is closed. */
export async function* untilAborted<T>(
  source: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const iterator = source[Symbol.asyncIterator]();
  // One listener for months of frames; it ends whatever wait is under way.
  let wake: (() => void) | undefined;
  const onAbort = () => wake?.();
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    while (!signal.aborted) {
      const next = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        wake = () => resolve(undefined);
        iterator.next().then(resolve, reject);
      });
      if (next === undefined || next.done === true) return;
      yield next.value;
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
    // A source that hangs would never answer: it is told, not awaited.
    void Promise.resolve(iterator.return?.()).catch(() => undefined);
  }
}
