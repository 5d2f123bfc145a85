/** A fuzz target as a test: how long it runs, and what it leaves. */
import { appendFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { fuzz } from './engine.ts';
import type { FuzzTarget } from './target.ts';

const { FOOTAGE_FUZZ_SECONDS, FOOTAGE_FUZZ_SEED, FOOTAGE_FUZZ_REPORT } = process.env;
/** In `npm test`. */
const SHORT_SECONDS = 6;

export function fuzzTest(target: FuzzTarget): void {
  const seconds = Number(FOOTAGE_FUZZ_SECONDS ?? SHORT_SECONDS);
  test(`no input breaks ${target.name}`, { timeout: seconds * 1000 + 180_000 }, async () => {
    const seed = Number(FOOTAGE_FUZZ_SEED ?? Date.now() % 2 ** 31);
    const result = await fuzz(target, { seconds, seed });
    const { executions, kept, findings } = result;
    console.log(`${target.name}: ${executions} inputs, ${kept} kept, seed ${seed}`);
    if (FOOTAGE_FUZZ_REPORT !== undefined) appendFileSync(FOOTAGE_FUZZ_REPORT, `${JSON.stringify(result)}\n`);
    expect(findings).toEqual([]);
    expect(executions).toBeGreaterThanOrEqual(kept);
  });
}
