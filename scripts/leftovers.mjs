/** What a process holds at a moment, to tell what something has left behind. */
import { createHook } from 'node:async_hooks';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const PATIENCE_MS = 20_000;

const timers = new Set();

/** Node lists only the timers that keep it running; ours do not. Those that were made before this call are not seen. */
createHook({
  init: (id, type) => void (type === 'Timeout' && timers.add(id)),
  destroy: (id) => void timers.delete(id),
}).enable();

function countByName(names) {
  const counts = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** Counts of everything that can be left, by name. libuv's handles include those of the addon, which Node does not know. */
export function holdings() {
  const { libuv } = process.report.getReport();
  const handles = libuv.filter(({ type }) => type !== 'loop').map(({ type }) => `handle ${type}`);
  const resources = process.getActiveResourcesInfo().map((name) => `resource ${name}`);
  const descriptors = readdirSync('/proc/self/fd').length;
  return { descriptors, timers: timers.size, ...countByName([...handles, ...resources]) };
}

/** What there is more of than before, as text; empty if nothing. */
export function excess(before, now) {
  const more = Object.entries(now).filter(([name, count]) => count > (before[name] ?? 0));
  return more.map(([name, count]) => `${name}: ${count}, before ${before[name] ?? 0}`).join('; ');
}

/** What the process holds once that has been the same for 300 ms. */
export async function settledHoldings() {
  let last = holdings();
  for (let same = 0; same < 15;) {
    await sleep(20);
    const now = holdings();
    same = excess(last, now) === '' && excess(now, last) === '' ? same + 1 : 0;
    last = now;
  }
  return last;
}

/** Waits until there is no more than before; gives what is left in the end, as `excess` does. */
export async function leftSince(before) {
  let left = excess(before, holdings());
  for (const beganMs = performance.now(); left !== '' && performance.now() - beganMs < PATIENCE_MS;) {
    await sleep(20);
    left = excess(before, holdings());
  }
  return left;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');

/** Bytes in use after garbage collection: V8's heap with the buffers outside of it, and the whole process. */
export async function memoryInUse() {
  // Finalizers of the addon run in a turn of their own, and free what a second collection finds.
  for (let turns = 0; turns < 3; turns++) {
    collect();
    await sleep(5);
  }
  const { heapUsed, external, rss } = process.memoryUsage();
  return { heapBytes: heapUsed + external, processBytes: rss };
}
