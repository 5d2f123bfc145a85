/**
 * Loaded into a server by `NODE_OPTIONS=--import`: at each SIGUSR2 it writes, as JSON into the file that BENCH_PROBE names,
 * the delay of its event loop since the signal before, and its memory after a forced collection. Its timer and its
 * collections cost CPU, so it is in no server whose CPU is measured.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const RESOLUTION_MS = 10;
/** What one collection finalizes, the next one frees. */
const COLLECTIONS = 4;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc');
const file = process.env.BENCH_PROBE;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });

process.on('SIGUSR2', () => {
  const delayMs = delays();
  collectAll(COLLECTIONS, () => {
    writeFileSync(`${file}.new`, JSON.stringify({ delayMs, memory: memory() }));
    renameSync(`${file}.new`, file);
    delay.reset();
    delay.enable();
  });
});
delay.enable();

function delays() {
  delay.disable();
  const [median, p99] = [50, 99].map((share) => lateMs(delay.percentile(share)));
  return { median, p99, longest: lateMs(delay.max) };
}

/** How late a timer of RESOLUTION_MS was. */
function lateMs(nanoseconds) {
  return Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
}

/** Live objects of V8; what malloc has of the main thread, where the addon and libuv keep what is each connection's; all. */
function memory() {
  const { heapUsed, rss } = process.memoryUsage();
  const [, mallocKilobytes] = /\[heap\]\n(?:.*\n)*?Rss: +(\d+) kB/.exec(readFileSync('/proc/self/smaps', 'utf8')) ?? [];
  return { heap: heapUsed, malloc: Number(mallocKilobytes) * 1024, rss };
}

function collectAll(times, done) {
  collect();
  if (times > 1) setImmediate(collectAll, times - 1, done);
  else done();
}
