/**
 * Plans requests, and keeps the last plans: a player asks for many byte ranges of one answer, and each would be planned
 * again. A plan is kept with all that it asked the catalog, and given again only while the catalog answers the same: not
 * if a segment was repaired, sealed or removed, nor if another has come that the plan would have looked at. While nothing
 * at all has changed in the catalog, its version tells so. Answers that reach into an open segment are not kept.
 */
import type { Catalog, SegmentRow } from '../catalog/catalog.ts';
import type { SegmentCache } from '../segment/cache.ts';
import { loadRuns, type LoadDeps, rowsOf, TrackCache } from './load.ts';
import { FragmentRows } from './fragment-layout.ts';
import { Expansions } from './packed.ts';
import { beginsOf, type Plan, planMp4 } from './plan.ts';
import type { PlanRequest } from './request.ts';
import type { Run } from './run.ts';
import type { Span } from './select.ts';

/** Bytes that are kept over all plans. */
const MAX_CACHED_BYTES = 32 * 2 ** 20;

/** How often beginnings are looked for anew: the second time they are where they were found, unless the clock jumps. */
const MAX_ROUNDS = 4;

interface KeptPlan {
  readonly plan: Plan;
  readonly inquiry: Inquiry;
}

/** What one plan asks the catalog, and is told. */
class Inquiry {
  readonly deps: LoadDeps;
  readonly #checks: (() => boolean)[] = [];
  #isLasting = true;
  /** Of the catalog, at which it answered like this. */
  #version: number;

  constructor(deps: LoadDeps & { readonly catalog: Catalog }) {
    const { catalog } = deps;
    // Before anything is asked: what changes meanwhile is a change.
    this.#version = catalog.version();
    this.deps = {
      ...deps,
      catalog: {
        segments: (camera, startUtcMs, endUtcMs) => catalog.segments(camera, startUtcMs, endUtcMs),
        open: () => catalog.open(),
        neighbour: (run, sequence, direction) =>
          this.#rows(() => [catalog.neighbour(run, sequence, direction)].filter((row) => row !== undefined))[0],
        runStart: (run) => this.#noted(() => catalog.runStart(run), Object.is),
      },
    };
  }

  rowsOf(camera: string, span: Span): SegmentRow[] {
    return this.#rows(() => rowsOf(camera, span, this.deps));
  }

  /** No segment may still grow. */
  get isLasting(): boolean {
    return this.#isLasting;
  }

  /** Whether the catalog, which is at `version` now, would answer the same. */
  holds(version: number): boolean {
    if (version === this.#version) return true;
    if (!this.#checks.every((check) => check())) return false;
    this.#version = version;
    return true;
  }

  #rows(ask: () => SegmentRow[]): SegmentRow[] {
    const rows = this.#noted(ask, sameSegments);
    this.#isLasting &&= rows.every(({ state }) => state === 'sealed');
    return rows;
  }

  #noted<T>(ask: () => T, same: (a: T, b: T) => boolean): T {
    const told = ask();
    this.#checks.push(() => same(ask(), told));
    return told;
  }
}

function sameSegments(a: readonly SegmentRow[], b: readonly SegmentRow[]): boolean {
  return a.length === b.length && a.every((row, i) => isSame(row, b[i]));
}

function isSame(row: SegmentRow, other: SegmentRow | undefined): boolean {
  if (row === other) return true;
  const { id, path, state, repairGeneration } = row;
  return (
    id === other?.id && path === other.path && state === other.state && repairGeneration === other.repairGeneration
  );
}

export class Planner {
  readonly #deps: LoadDeps & { readonly catalog: Catalog };
  readonly #plans = new Map<string, KeptPlan>();
  readonly #expansions = new Expansions();
  readonly #rows = new FragmentRows();
  #bytes = 0;

  constructor(deps: { readonly archive: string; readonly catalog: Catalog; readonly cache: SegmentCache }) {
    this.#deps = { ...deps, tracks: new TrackCache(deps.cache.crc32c) };
  }

  /** @throws FootageError E_RANGE_EMPTY, E_GAP, E_CHANGES, E_DAMAGED, E_IO */
  async plan(request: PlanRequest): Promise<Plan> {
    const kept = this.kept(request);
    if (kept !== undefined) return kept;
    const inquiry = new Inquiry(this.#deps);
    const { runs, begun } = await load(request, inquiry);
    const plan = planMp4(runs, begun, { cache: this.#deps.cache, expansions: this.#expansions, rows: this.#rows });
    return inquiry.isLasting ? this.#keep(keyOf(request), { plan, inquiry }) : plan;
  }

  /** The plan that was made of such a request before, if it would be the same now. */
  kept(request: PlanRequest): Plan | undefined {
    const key = keyOf(request);
    const known = this.#plans.get(key);
    return known?.inquiry.holds(this.#deps.catalog.version()) === true ? this.#keep(key, known) : undefined;
  }

  /** The plan becomes the one that was asked for last; those that were asked for longest ago make room. */
  #keep(key: string, kept: KeptPlan): Plan {
    this.#forget(key);
    this.#plans.set(key, kept);
    this.#bytes += kept.plan.file.memoryBytes;
    for (const oldest of this.#plans.keys()) {
      if (this.#bytes <= MAX_CACHED_BYTES) break;
      this.#forget(oldest);
    }
    return kept.plan;
  }

  #forget(key: string): void {
    this.#bytes -= this.#plans.get(key)?.plan.file.memoryBytes ?? 0;
    this.#plans.delete(key);
  }
}

/** Where beginnings are moved to sync samples, it is those instants around which has to be looked as well. */
async function load(request: PlanRequest, inquiry: Inquiry): Promise<{ runs: Run[]; begun: PlanRequest }> {
  const { camera, begin, startUtcMs, endUtcMs } = request;
  const runs = await loadRuns(inquiry.rowsOf(camera, request), request, inquiry.deps);
  if (begin === 'exact') return { runs, begun: request };
  const marksUtcMs = new Map([[wholeUs(startUtcMs), startUtcMs]]);
  let around = runs;
  let begins = beginsOf(around, request);
  // A segment that is known by its row alone tells only roughly when it begins: looked into, it tells exactly.
  for (let round = 0; round < MAX_ROUNDS && !begins.every((utcMs) => marksUtcMs.has(wholeUs(utcMs))); round++) {
    for (const utcMs of begins) marksUtcMs.set(wholeUs(utcMs), utcMs);
    const marks = [...marksUtcMs.values()];
    const earliest = marks.reduce((least, utcMs) => Math.min(least, utcMs), startUtcMs);
    const span = { begin, startUtcMs: earliest, endUtcMs, marksUtcMs: marks };
    around = await loadRuns(inquiry.rowsOf(camera, span), span, inquiry.deps);
    begins = beginsOf(around, request);
  }
  return { runs: around, begun: { ...request, beginUtcMs: begins[0] ?? startUtcMs } };
}

/** Instants that the arithmetic of two lookings takes apart are one. */
const wholeUs = (utcMs: number) => Math.round(utcMs * 1000);

/** All that was asked. */
function keyOf(request: PlanRequest): string {
  const { camera, startUtcMs, endUtcMs, gaps, changes, part, begin, tracks, keyframes, speed, format } = request;
  return [camera, startUtcMs, endUtcMs, gaps, changes, part, begin, tracks, keyframes, speed, format].join(' ');
}
