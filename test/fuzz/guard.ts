/** Stops a fuzzer whose input hangs or takes memory without end: see watchdog.mjs. */
import { Worker } from 'node:worker_threads';

/** Time of the processor: no input of some 100 kB has an excuse to take more. */
const HANG_MS = 15_000;
/** What one input may leave or have in use, beyond what is in use without it. */
export const MAX_MEMORY_BYTES = 256 * 2 ** 20;
/** The whole process is killed at this growth: garbage is not collected at once. */
const MAX_GROWTH_BYTES = 1536 * 2 ** 20;
const MAX_INPUT_BYTES = 4 * 2 ** 20;

export class Guard {
  readonly #shared = new SharedArrayBuffer(8 + MAX_INPUT_BYTES);
  readonly #state = new Int32Array(this.#shared, 0, 2);
  readonly #bytes = new Uint8Array(this.#shared, 8);
  readonly #worker: Worker;

  /** `folder` is where the inputs go. */
  constructor(name: string, folder: string, hangMs = HANG_MS) {
    const workerData = { shared: this.#shared, name, folder, hangMs, memoryBytes: MAX_GROWTH_BYTES };
    this.#worker = new Worker(new URL('./watchdog.mjs', import.meta.url), { workerData });
    this.#worker.unref();
  }

  begin(input: Uint8Array): void {
    this.#bytes.set(input.subarray(0, MAX_INPUT_BYTES));
    Atomics.add(this.#state, 0, 1);
    Atomics.store(this.#state, 1, input.length + 1);
  }

  end(): void {
    Atomics.store(this.#state, 1, 0);
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
