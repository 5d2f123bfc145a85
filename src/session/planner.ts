/**
 * Plans requests, and keeps the last plans: a player asks for many byte ranges of one answer, and each would be planned
 * again. A plan is kept under its request and the identity of every segment it may depend on, so a repaired, sealed or
 * removed segment is never served from an old plan. Answers that reach into an open segment are not kept.
 */
import type { SegmentRow } from '../catalog/catalog.ts';
import { type LoadDeps, loadRuns, rowsOf } from './load.ts';
import { type Plan, type PlanRequest, planMp4 } from './plan.ts';
import { refuseLongRows } from './size.ts';

/** Bytes of headers and other computed bytes kept over all plans. */
const MAX_CACHED_BYTES = 32 * 2 ** 20;

export class Planner {
  readonly #deps: LoadDeps;
  readonly #plans = new Map<string, Plan>();
  #bytes = 0;

  constructor(deps: LoadDeps) {
    this.#deps = deps;
  }

  /** @throws FootageError E_RANGE_EMPTY, E_RANGE_TOO_LONG, E_GAP, E_CHANGES, E_DAMAGED, E_IO */
  async plan(request: PlanRequest): Promise<Plan> {
    const rows = rowsOf(request.camera, request, this.#deps);
    const key = keyOf(request, rows);
    const known = key === undefined ? undefined : this.#plans.get(key);
    if (known !== undefined) return known;
    refuseLongRows(rows, request);
    const plan = planMp4(await loadRuns(rows, this.#deps), request);
    // A plan that begins in an earlier segment of its run depends on more than its key says.
    const ids = new Set(rows.map((row) => row.id));
    if (key !== undefined && plan.manifest.segments.every((id) => ids.has(id))) this.#keep(key, plan);
    return plan;
  }

  #keep(key: string, plan: Plan): void {
    if (this.#plans.has(key)) return;
    this.#plans.set(key, plan);
    this.#bytes += plan.file.memoryBytes;
    for (const [oldest, { file }] of this.#plans) {
      if (this.#bytes <= MAX_CACHED_BYTES) break;
      this.#plans.delete(oldest);
      this.#bytes -= file.memoryBytes;
    }
  }
}

/** Identity of request and segments; undefined when a segment may still grow. */
function keyOf({ camera, startUtcMs, endUtcMs, gaps }: PlanRequest, rows: readonly SegmentRow[]): string | undefined {
  if (rows.some((row) => row.state === 'open')) return undefined;
  const segments = rows.map((row) => `${row.id}/${row.repairGeneration}`).join(' ');
  return `${camera} ${startUtcMs} ${endUtcMs} ${gaps} ${segments}`;
}
