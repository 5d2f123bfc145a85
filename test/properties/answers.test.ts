/**
 * Whole answers against a model: random archives, random ranges. What comes out is read back by a reader of its own and
 * must be sample for sample what a brute-force model says. FOOTAGE_PROPERTY_RUNS gives the number of
 * archives, then random ones unless FOOTAGE_PROPERTY_SEED says which. With FOOTAGE_PROPERTY_SHRINK=0 no
 * smaller example is looked for.
 */
import * as fc from 'fast-check';
import { test } from 'vitest';
import { withTemporaryFolder } from '../support/tmp.ts';
import { archiveSpecs } from './archives.ts';
import { checkArchive } from './check.ts';
import { rangeSpecs } from './ranges.ts';

const { FOOTAGE_PROPERTY_RUNS: runs, FOOTAGE_PROPERTY_SEED: seed, FOOTAGE_PROPERTY_SHRINK: shrink } = process.env;
const RUNS = Number(runs ?? 25);
/** The same archives at each run, unless more of them are asked for. */
const SEED = seed ?? (runs === undefined ? '20260131' : undefined);
const RANGES = 12;
/** Then the search for a smaller example ends, too. */
const LIMIT_MS = 60_000 + RUNS * 5000;

test(
  'an answer holds exactly the samples that the range needs, at their times',
  { timeout: LIMIT_MS + 60_000 },
  async () => {
    const cases = fc.asyncProperty(
      archiveSpecs,
      fc.array(rangeSpecs, { minLength: RANGES, maxLength: RANGES }),
      (spec, ranges) => withTemporaryFolder((folder) => checkArchive(folder, spec, ranges)),
    );
    const limit = { interruptAfterTimeLimit: LIMIT_MS, markInterruptAsFailure: true, endOnFailure: shrink === '0' };
    await fc.assert(cases, { numRuns: RUNS, ...limit, ...(SEED === undefined ? {} : { seed: Number(SEED) }) });
  },
);
