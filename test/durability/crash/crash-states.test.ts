/**
 * Disk states that a power cut, or the end of a process, could leave: each is opened, recovered and held against the
 * promise. 10,000 of them here; `npm run test:crashes` tries as many as it is told.
 */
import { writeFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Random } from '../../fuzz/random.ts';
import { type Checked, Checker } from './check.ts';
import {
  afterKill,
  afterPowerCut,
  checkKills,
  type Crash,
  type Exploration,
  explore,
  type ExploreOptions,
  newExploration,
} from './explore.ts';
import { openAgain, record, type Scenario, STORY_NAMES } from './scenarios.ts';

const STATES = Number(process.env['FOOTAGE_CRASH_STATES'] ?? 10_000);
const SEED = Number(process.env['FOOTAGE_CRASH_SEED'] ?? 1);
const REPORT = process.env['FOOTAGE_CRASH_REPORT'];

/** Of the small combinations all where there is time, and some at random. */
const LONG = STATES > 50_000;
const DENSITY = LONG ? { oneIn: 1, extra: 20 } : { oneIn: 6, extra: 2 };
/** Recoveries that are themselves interrupted, of each story. */
const AGAIN = LONG ? 40 : 6;

/** States of one story, half of them of its recoveries, before it is the next one's turn. */
const SHARE = Math.min(20_000, Math.ceil(STATES / STORY_NAMES.length));

interface Search {
  readonly found: Exploration;
  readonly options: ExploreOptions;
}

/** Whether so many more states are known, or something is wrong. */
function limited(found: Exploration, states: number): () => boolean {
  const limit = Math.min(STATES, found.seen.size + states);
  return () => found.seen.size >= limit || found.failures.length >= 10;
}

async function searchStory(story: string, seed: number, { found, options }: Search): Promise<void> {
  const scenario = await record(story, seed);
  const held: [Crash, Checked][] = [];
  await checkKills(scenario, found, options);
  const hold = (crash: Crash, checked: Checked) => held.push([crash, checked]);
  await explore(scenario, found, { ...options, held: hold, enough: limited(found, SHARE / 2) });
  const enough = limited(found, SHARE / 2);
  for (let i = 0; i < AGAIN && !enough(); i++) {
    const again = await interrupted(scenario, held, i, options);
    await checkKills(again, found, options);
    await explore(again, found, { ...options, enough: limited(found, SHARE / AGAIN) });
  }
}

/** Somebody recovers what a power cut or the end of a process has left. */
async function interrupted(
  scenario: Scenario,
  held: readonly [Crash, Checked][],
  i: number,
  options: ExploreOptions,
): Promise<Scenario> {
  const { random } = options;
  const goOn = random.oneIn(2);
  if (i % 2 === 0 && held.length > 0) {
    const [crash, checked] = random.pick(held);
    const left = afterPowerCut(scenario, crash, checked);
    return openAgain(scenario, `power cut after ${crash.after}`, left, i, goOn);
  }
  const after = scenario.from + random.below(scenario.log.length - scenario.from);
  const left = await afterKill(scenario, after, options);
  return openAgain(scenario, `killed after ${after}`, left, i, goOn);
}

async function searchAll(): Promise<Exploration> {
  const found = newExploration();
  const checker = await Checker.create();
  const options = { checker, random: new Random(SEED), ...DENSITY };
  const enough = limited(found, STATES);
  for (let story = 0; !enough(); story++) {
    await searchStory(STORY_NAMES[story % STORY_NAMES.length] ?? '', SEED + story, { found, options });
  }
  checker.close();
  return found;
}

describe('crash states', () => {
  test(
    `in ${STATES} distinct ones nothing acknowledged is missing, invented, deleted, or other the second time`,
    async () => {
      const beganMs = performance.now();
      const found = await searchAll();
      const seconds = (performance.now() - beganMs) / 1000;
      const { user, system } = process.cpuUsage();
      const summary = { states: found.seen.size, checks: found.checks, failures: found.failures.length, seed: SEED };
      const times = { seconds: Math.round(seconds), cpuSeconds: Math.round((user + system) / 1e6) };
      const line = JSON.stringify({ ...summary, ...times });
      console.log(line, `${Math.round(found.checks / seconds)} checks per second`);
      if (REPORT !== undefined) writeFileSync(REPORT, line);
      expect(found.failures).toEqual([]);
      expect(found.seen.size).toBeGreaterThanOrEqual(STATES);
    },
    LONG ? 86_400_000 : 600_000,
  );
});
