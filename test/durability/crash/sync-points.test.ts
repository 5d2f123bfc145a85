/** Each sync point is needed: without it there is a state in which the promise is broken. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Random } from '../../fuzz/random.ts';
import { Checker } from './check.ts';
import { afterKill, type ExploreOptions, explore, type Failure, newExploration } from './explore.ts';
import { EMPTY_IMAGE } from './image.ts';
import { openAgain, record, type Scenario, STORY_NAMES } from './scenarios.ts';
import { SYNC_POINTS, type SyncPoint } from './sync-points.ts';

const SEEDS = [1, 2, 3];

/** Recorders at work, as they are without the sync point. */
async function* recordings(variant: SyncPoint['variant']): AsyncGenerator<Scenario> {
  for (const seed of SEEDS) {
    for (const [i, story] of STORY_NAMES.entries()) {
      // The archive is made with the folder that holds it.
      const scenario = variant(await record(story, seed, i === 0 ? EMPTY_IMAGE : undefined));
      if (scenario !== undefined) yield scenario;
    }
  }
}

/** Processes that open what another left when it was killed. */
async function* successors(point: SyncPoint, options: ExploreOptions): AsyncGenerator<Scenario> {
  const goesOn = point.in === 'succession';
  for (const seed of SEEDS) {
    for (const story of STORY_NAMES) {
      const before = await record(story, seed);
      const last = goesOn ? 2 : before.log.length;
      for (let after = 1; after <= last; after++) {
        const left = await afterKill(before, after, options);
        const scenario = point.variant(await openAgain(before, `killed after ${after}`, left, seed, goesOn));
        if (scenario !== undefined) yield scenario;
      }
    }
  }
}

/** A state in which the promise does not hold: first all or nothing is there of what is not durable, then anything. */
async function brokenState(point: SyncPoint, options: ExploreOptions): Promise<Failure | undefined> {
  const found = newExploration();
  const enough = () => found.failures.length > 0;
  for await (const scenario of point.in === 'recording' ? recordings(point.variant) : successors(point, options)) {
    await explore(scenario, found, { ...options, first: 2, enough });
    await explore(scenario, found, { ...options, oneIn: 3, extra: 2, enough });
    if (enough()) return found.failures[0];
  }
  return undefined;
}

describe('without a sync point the promise is broken', () => {
  let checker: Checker;
  beforeAll(async () => {
    checker = await Checker.create();
  });
  afterAll(() => checker.close());

  test.each(SYNC_POINTS)('$name', async (point) => {
    const failure = await brokenState(point, { checker, random: new Random(1) });
    console.log(`${point.name}: ${failure?.scenario}, after ${failure?.after}: ${failure?.problems[0]}`);
    expect(failure?.problems.length).toBeGreaterThan(0);
  });
});
