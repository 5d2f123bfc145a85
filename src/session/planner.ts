/**
 * Plans requests, and keeps the last plans: a player asks for many byte ranges of one answer, and each would be planned
 * again. A plan is kept under its request and the identity of every segment it may depend on, so a repaired, sealed or
 * removed segment is never served from an old plan. Answers that reach into an open segment are not kept.
 */
import type { Catalog, SegmentRow } from '../catalog/catalog.ts';
import type { SegmentCache } from '../segment/cache.ts';
import { loadRuns, type LoadDeps, rowsOf, TrackCache } from './load.ts';
import { FragmentRows } from './fragment-layout.ts';
import { Expansions } from './packed.ts';
import { beginsOf, type Plan, planMp4 } from './plan.ts';
import type { PlanRequest } from './request.ts';

/** Bytes that are kept over all plans. */
const MAX_CACHED_BYTES = 32 * 2 ** 20;

export class Planner {
  readonly #deps: LoadDeps;
  readonly #plans = new Map<string, Plan>();
  readonly #expansions = new Expansions();
  readonly #rows = new FragmentRows();
  #bytes = 0;

  constructor(deps: { readonly archive: string; readonly catalog: Catalog; readonly cache: SegmentCache }) {
    this.#deps = { ...deps, tracks: new TrackCache(deps.cache.crc32c) };
  }

  /** @throws FootageError E_RANGE_EMPTY, E_GAP, E_CHANGES, E_DAMAGED, E_IO */
  async plan(request: PlanRequest): Promise<Plan> {
    const rows = rowsOf(request.camera, request, this.#deps);
    const key = keyOf(request, rows);
    const known = key === undefined ? undefined : this.#plans.get(key);
    if (known !== undefined) return this.#keep(key ?? '', known);
    const { runs, begun } = await this.#load(rows, request);
    const plan = planMp4(runs, begun, { cache: this.#deps.cache, expansions: this.#expansions, rows: this.#rows });
    // A plan that begins in an earlier segment of its run depends on more than its key says.
    const ids = new Set(rows.map((row) => row.id));
    const isWhole = plan.manifest.segments.every((id) => ids.has(id));
    return key !== undefined && isWhole ? this.#keep(key, plan) : plan;
  }

  /** Where beginnings are moved to sync samples, it is those instants around which has to be looked as well. */
  async #load(rows: readonly SegmentRow[], request: PlanRequest) {
    const runs = await loadRuns(rows, request, this.#deps);
    if (request.begin === 'exact') return { runs, begun: request };
    const { camera, begin, startUtcMs, endUtcMs } = request;
    const marksUtcMs = [startUtcMs];
    let around = runs;
    let begins = beginsOf(around, request);
    // A segment that is known by its row alone tells only roughly when it begins: looked into, it tells exactly.
    while (!begins.every((utcMs) => marksUtcMs.includes(utcMs))) {
      marksUtcMs.push(...begins);
      const span = { begin, startUtcMs: Math.min(...marksUtcMs), endUtcMs, marksUtcMs };
      around = await loadRuns(rowsOf(camera, span, this.#deps), span, this.#deps);
      begins = beginsOf(around, request);
    }
    return { runs: around, begun: { ...request, beginUtcMs: begins[0] ?? startUtcMs } };
  }

  /** The plan becomes the one that was asked for last; those that were asked for longest ago make room. */
  #keep(key: string, plan: Plan): Plan {
    if (!this.#plans.delete(key)) this.#bytes += plan.file.memoryBytes;
    this.#plans.set(key, plan);
    for (const [oldest, { file }] of this.#plans) {
      if (this.#bytes <= MAX_CACHED_BYTES) break;
      this.#plans.delete(oldest);
      this.#bytes -= file.memoryBytes;
    }
    return plan;
  }
}

/** Identity of request and segments; undefined when a segment may still grow. */
function keyOf(request: PlanRequest, rows: readonly SegmentRow[]): string | undefined {
  if (rows.some((row) => row.state === 'open')) return undefined;
  const { camera, startUtcMs, endUtcMs, gaps, changes, part, begin, tracks, keyframes, speed, format } = request;
  const segments = rows.map((row) => `${row.id}/${row.repairGeneration}`);
  const options = [startUtcMs, endUtcMs, gaps, changes, part, begin, tracks, keyframes, speed, format];
  return [camera, ...options, ...segments].join(' ');
}
