/** Results in the order of the items, of which `jobs` are worked on at once. */
export async function* inOrder<T, R>(
  items: readonly T[],
  jobs: number,
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  try {
    for (let next = 0; next < items.length || running.length > 0;) {
      while (running.length < jobs && next < items.length) {
        const job = work(items[next++] as T);
        // Whoever takes it from the queue meets the failure; until then it is not unhandled.
        job.catch(() => undefined);
        running.push(job);
      }
      const first = running.shift();
      if (first !== undefined) yield await first;
    }
  } finally {
    await Promise.allSettled(running);
  }
}
