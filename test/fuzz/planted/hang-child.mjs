/** A fuzzer that hangs: the watchdog must end this process. Arguments: the folder of the inputs. */
import { Worker } from 'node:worker_threads';

const shared = new SharedArrayBuffer(64);
const state = new Int32Array(shared, 0, 2);
const workerData = { shared, name: 'planted', folder: process.argv[2], hangMs: 300, memoryBytes: 2 ** 30 };
const watchdog = new Worker(new URL('../watchdog.mjs', import.meta.url), { workerData });
watchdog.once('online', () => {
  new Uint8Array(shared, 8).set([1, 2, 3]);
  Atomics.store(state, 1, 3 + 1);
  for (;;) Atomics.add(state, 1, 0);
});
