/**
 * A coverage-guided fuzzer in TypeScript: mutates inputs that are kept, and keeps those that reach code that none reached
 * before. What is found is made smaller and saved.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FootageError, systemCode } from '../../src/errors.ts';
import { Coverage } from './coverage.ts';
import { Guard, MAX_MEMORY_BYTES } from './guard.ts';
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import type { FuzzTarget } from './target.ts';

export interface FuzzOptions {
  readonly seconds: number;
  readonly seed: number;
  /** Ends with this many. */
  readonly maxFindings?: number;
}

export interface Finding {
  /** What went wrong, and where. */
  readonly what: string;
  readonly path: string;
}

export interface FuzzResult {
  readonly target: string;
  readonly executions: number;
  /** Inputs kept for what they reach. */
  readonly kept: number;
  readonly findings: readonly Finding[];
}

const MAX_BYTES = 64 * 2 ** 10;
/** Reading the counters costs a millisecond: the longer nothing new is found, the more inputs go before. */
const BATCH_MS = 60;
const MAX_BATCH = 512;
const MAX_SHRINKS = 400;
const MAX_FINDINGS = 20;

/** Where inputs that fail are saved. */
export const FINDINGS_FOLDER = process.env['FOOTAGE_FUZZ_FINDINGS'] ?? join(tmpdir(), 'footage-fuzz-findings');

export async function fuzz(target: FuzzTarget, options: FuzzOptions): Promise<FuzzResult> {
  const guard = new Guard(target.name, FINDINGS_FOLDER);
  const coverage = new Coverage();
  await target.open?.();
  coverage.start();
  try {
    return await new Fuzzer(target, options, guard, coverage).run();
  } finally {
    coverage.stop();
    await target.close?.();
    await guard.close();
  }
}

/** Inputs of a folder beside this file. */
export function inputsOf(folder: string): Buffer[] {
  const path = join(import.meta.dirname, folder);
  try {
    return readdirSync(path)
      .toSorted()
      .map((name) => readFileSync(join(path, name)));
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

class Fuzzer {
  readonly #target: FuzzTarget;
  readonly #random: Random;
  readonly #untilMs: number;
  readonly #maxFindings: number;
  readonly #guard: Guard;
  readonly #coverage: Coverage;
  readonly #words: readonly Buffer[];
  readonly #kept: Buffer[] = [];
  readonly #findings = new Map<string, Finding>();
  #executions = 0;
  /** In use by typed arrays after the last input. */
  #arrayBytes = Infinity;

  constructor(
    target: FuzzTarget,
    { seconds, seed, maxFindings = MAX_FINDINGS }: FuzzOptions,
    guard: Guard,
    coverage: Coverage,
  ) {
    this.#target = target;
    this.#random = new Random(seed);
    this.#untilMs = performance.now() + seconds * 1000;
    this.#maxFindings = maxFindings;
    this.#guard = guard;
    this.#coverage = coverage;
    this.#words = (target.words ?? []).map((word) => Buffer.from(word));
  }

  async run(): Promise<FuzzResult> {
    await this.#begin();
    let batch = 1;
    while (performance.now() < this.#untilMs && this.#findings.size < this.#maxFindings) {
      const inputs = Array.from({ length: batch }, () => this.#mutated());
      const beganMs = performance.now();
      for (const input of inputs) await this.#take(input);
      const tookMs = performance.now() - beganMs;
      const isNew = this.#coverage.takeNew(false);
      if (isNew) await this.#keep(inputs);
      if (isNew) batch = Math.ceil(batch / 2);
      else if (tookMs < BATCH_MS) batch = Math.min(2 * batch, MAX_BATCH);
    }
    const findings = [...this.#findings.values()];
    return { target: this.#target.name, executions: this.#executions, kept: this.#kept.length, findings };
  }

  /** What was found once, and what the run begins with. All of it is kept, to be mutated. */
  async #begin(): Promise<void> {
    const { name, corpora = [name], seeds } = this.#target;
    const folders = [`regressions/${name}`, ...corpora.map((corpus) => `corpus/${corpus}`)];
    this.#kept.push(...folders.flatMap(inputsOf), ...(seeds?.() ?? []));
    if (this.#kept.length === 0) throw new Error(`the fuzz target ${name} has nothing to begin with`);
    for (const input of this.#kept) await this.#take(input);
    this.#coverage.takeNew(true);
  }

  #mutated(): Buffer {
    const { maxBytes = MAX_BYTES, finish } = this.#target;
    // What was kept last reaches what is least known.
    const recent = this.#random.oneIn(2) ? this.#kept.slice(-16) : this.#kept;
    const options = { words: this.#words, other: this.#random.pick(this.#kept), maxBytes };
    const mutated = mutate(this.#random.pick(recent), this.#random, options);
    return finish === undefined ? mutated : finish(mutated, this.#random);
  }

  /** Of inputs that together reached something new, those that do: halves that reach nothing new are left. */
  async #keep(inputs: readonly Buffer[]): Promise<void> {
    const [first] = inputs;
    if (first === undefined) return;
    for (const input of inputs) await this.#take(input);
    if (!this.#coverage.takeNew(inputs.length === 1)) return;
    const middle = inputs.length >> 1;
    if (middle === 0) this.#kept.push(first);
    await this.#keep(middle === 0 ? [] : inputs.slice(0, middle));
    await this.#keep(middle === 0 ? [] : inputs.slice(middle));
  }

  async #take(input: Buffer): Promise<void> {
    const what = await this.#failure(input);
    if (what === undefined || this.#findings.has(what)) return;
    this.#findings.set(what, { what, path: this.#save(await this.#shrunk(input, what)) });
  }

  /** Runs one input; says what is wrong, if anything is. */
  async #failure(input: Buffer): Promise<string | undefined> {
    this.#executions++;
    this.#guard.begin(input);
    try {
      await this.#target.run(input);
    } catch (error) {
      if (!(error instanceof FootageError)) return describe(error);
    } finally {
      this.#guard.end();
    }
    const before = this.#arrayBytes;
    this.#arrayBytes = process.memoryUsage().arrayBuffers;
    return this.#arrayBytes - before > MAX_MEMORY_BYTES ? 'takes more memory than any input may' : undefined;
  }

  /** The input without what is not needed to fail in the same way. */
  async #shrunk(input: Buffer, what: string): Promise<Buffer> {
    let smallest = input;
    let tries = 0;
    for (let length = input.length >> 1; length > 0; length >>= 1) {
      for (let at = 0; at < smallest.length && tries < MAX_SHRINKS; tries++) {
        const shorter = Buffer.concat([smallest.subarray(0, at), smallest.subarray(at + length)]);
        if ((await this.#failure(shorter)) === what) smallest = shorter;
        else at += length;
      }
    }
    return smallest;
  }

  #save(input: Buffer): string {
    const digest = createHash('sha256').update(input).digest('hex').slice(0, 12);
    const path = join(FINDINGS_FOLDER, `${this.#target.name}-${digest}.bin`);
    mkdirSync(FINDINGS_FOLDER, { recursive: true });
    writeFileSync(path, input);
    return path;
  }
}

/** The error and where in `src` it comes from: the same for all inputs that fail alike. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) return `throws ${String(error)}`;
  const frames = (error.stack ?? '').split('\n').filter((line) => /\/src\/|\/planted\//.test(line));
  const place = frames.slice(0, 2).map((line) => line.trim().replace(/^at /, ''));
  return `${error.name}: ${error.message.replaceAll(/\d+/g, 'N').slice(0, 120)} ${place.join(' < ')}`;
}
