/**
 * Thread beside a fuzzer: an input that hangs, or takes memory without end, blocks the fuzzer's own thread. The input is
 * saved, and the process killed.
 *
 * What is shared: two 32-bit numbers, inputs begun and bytes of the one that is under way (0: none), then its bytes.
 */
import { mkdirSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { workerData } from 'node:worker_threads';

const { shared, name, folder, hangMs, memoryBytes } = workerData;
const state = new Int32Array(shared, 0, 2);
const limitBytes = process.memoryUsage.rss() + memoryBytes;
/** An input that computes counts by the time of its process, for others may have the machine; one that waits, by the clock. */
const WAIT_FACTOR = 8;
const cpuMs = () => (process.cpuUsage().user + process.cpuUsage().system) / 1000;
let [lastInput, sinceMs, sinceCpuMs] = [0, performance.now(), cpuMs()];

function kill(what) {
  const input = Buffer.from(new Uint8Array(shared, 8, Math.max(0, Atomics.load(state, 1) - 1)));
  const path = join(folder, `${name}-${what}-${process.pid}.bin`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path, input);
  writeSync(2, `fuzz: ${name}: ${what}; the input is ${path}\n`);
  process.kill(process.pid, 'SIGKILL');
}

setInterval(() => {
  const input = Atomics.load(state, 0);
  const [nowMs, nowCpuMs] = [performance.now(), cpuMs()];
  const isOther = input !== lastInput || Atomics.load(state, 1) === 0;
  if (isOther) [lastInput, sinceMs, sinceCpuMs] = [input, nowMs, nowCpuMs];
  if (nowCpuMs - sinceCpuMs > hangMs || nowMs - sinceMs > WAIT_FACTOR * hangMs) kill('hang');
  if (process.memoryUsage.rss() > limitBytes) kill('memory');
}, 50);
