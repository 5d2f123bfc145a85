/** Goes through the states that a power cut could leave of a scenario, and checks each that was not met before. */
import { Random } from '../../fuzz/random.ts';
import { type Checked, Checker, stateDigest } from './check.ts';
import { anyState, type Choice, type CrashPoint, crashPoint, everything, stateOf, systematic } from './crash-states.ts';
import type { CatalogState, Left, Scenario } from './scenarios.ts';

export interface Failure {
  readonly scenario: string;
  /** Operations done before the crash. */
  readonly after: number;
  readonly problems: readonly string[];
}

export interface Exploration {
  /** Distinct states so far, of all scenarios. */
  readonly seen: Set<string>;
  readonly failures: Failure[];
  /** Checks made: a state is checked again where more was promised. */
  checks: number;
}

export const newExploration = (): Exploration => ({ seen: new Set(), failures: [], checks: 0 });

export interface ExploreOptions {
  readonly checker: Checker;
  readonly random: Random;
  /** Only so many states for each crash: all that was done is there, nothing of it, … Default all. */
  readonly first?: number;
  /** Of the systematic states one in so many. Default each. */
  readonly oneIn?: number;
  /** States at random for each crash. Default none. */
  readonly extra?: number;
  /** Ends the search. */
  readonly enough?: () => boolean;
  /** Is told of each state that holds. */
  readonly held?: (crash: Crash, checked: Checked) => void;
}

/** A state that was checked. */
export interface Crash {
  readonly after: number;
  readonly image: ReturnType<typeof stateOf>;
  readonly rows: CatalogState['rows'];
}

export async function explore(scenario: Scenario, found: Exploration, options: ExploreOptions): Promise<void> {
  const { enough = () => false } = options;
  /** By digest of a state, how much was promised when it was checked. */
  const checked = new Map<string, number>();
  for (const after of shuffled(scenario.from, scenario.log.length, options.random)) {
    const point = crashPoint(scenario.base, scenario.log, after);
    for (const choice of choices(point, options)) {
      if (enough()) return;
      await checkOne(scenario, found, options, after, point, choice, checked);
    }
  }
}

/** The numbers from the first to the last in any order: a search that ends early has been everywhere. */
function shuffled(first: number, last: number, random: Random): number[] {
  const numbers = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  for (let i = numbers.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [numbers[i], numbers[j]] = [numbers[j] ?? 0, numbers[i] ?? 0];
  }
  return numbers;
}

function* choices(point: CrashPoint, { random, first = Infinity, oneIn = 1, extra = 0 }: ExploreOptions) {
  let given = 0;
  for (const choice of systematic(point)) {
    if (++given > first) return;
    if (random.oneIn(oneIn)) yield choice;
  }
  for (let i = 0; i < extra; i++) yield anyState(point, random);
}

async function checkOne(
  scenario: Scenario,
  found: Exploration,
  options: ExploreOptions,
  after: number,
  point: CrashPoint,
  choice: Choice,
  checked: Map<string, number>,
): Promise<void> {
  const { checker, random, held } = options;
  const image = stateOf(point, choice);
  const rows = anyCatalog(scenario.catalogs, after, random);
  const digest = stateDigest(image, rows);
  const { flushed } = scenario.promised(after);
  if (flushed.size <= (checked.get(digest) ?? -1)) return;
  checked.set(digest, flushed.size);
  found.seen.add(digest);
  found.checks++;
  const outcome = await checker.check({ footage: scenario.footage, image, rows, promised: flushed });
  if (outcome.problems.length === 0) held?.({ after, image, rows }, outcome);
  else found.failures.push({ scenario: scenario.name, after, problems: outcome.problems });
}

/** The catalog may be as it was at any time before, or gone. */
function anyCatalog(catalogs: readonly CatalogState[], after: number, random: Random): CatalogState['rows'] {
  const known = catalogs.filter(({ at }) => at <= after);
  if (random.oneIn(4)) return [];
  return (random.oneIn(2) ? known.at(-1) : random.pick(known))?.rows ?? [];
}

/** After the end of a process alone all is there that it had done, and nothing that it had appended is lost. */
export async function checkKills(scenario: Scenario, found: Exploration, options: ExploreOptions): Promise<void> {
  for (let after = scenario.from; after <= scenario.log.length; after++) {
    const { problems } = await afterKill(scenario, after, options);
    found.checks++;
    if (problems.length > 0) found.failures.push({ scenario: `${scenario.name}, killed`, after, problems });
  }
}

/** The archive as the next process finds it. */
export async function afterKill(
  scenario: Scenario,
  after: number,
  { checker, random }: ExploreOptions,
): Promise<Left & { readonly problems: readonly string[] }> {
  const { base, log, catalogs, footage } = scenario;
  const point = crashPoint(base, log, after);
  const image = stateOf(point, everything(point));
  const rows = anyCatalog(catalogs, after, random);
  const promised = scenario.promised(after);
  const { problems, found } = await checker.check({ footage, image, rows, promised: promised.appended });
  return { base, log: log.slice(0, after), rows, promised, found, problems };
}

/** What recovery found in a state is promised once it is done. */
export function afterPowerCut(scenario: Scenario, { after, image, rows }: Crash, { found }: Checked): Left {
  const { flushed } = scenario.promised(after);
  return { base: image, log: [], rows, promised: { flushed, appended: found }, found };
}
