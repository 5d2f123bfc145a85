/** Rows as plans ask for them, again and again: by time, by their place in a run, and decoded once. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import type { SegmentRow } from '../../src/catalog/catalog.ts';
import { openRow } from '../../src/catalog/reconcile.ts';
import { SqliteCatalog } from '../../src/catalog/sqlite-catalog.ts';
import { HEAD, START_UTC_MS } from '../support/segment.ts';

const RUN = 'ab'.repeat(16);

function sealedRow(sequence: number, startUtcMs = START_UTC_MS + sequence * 1000): SegmentRow {
  const row = openRow('door', `door/${sequence}.mp4`, { ...HEAD, run: RUN, sequence }, startUtcMs);
  return { ...row, id: String(sequence).padStart(32, '0'), state: 'sealed', endUtcMs: startUtcMs + 1000 };
}

function catalogOf(rows: readonly SegmentRow[]): SqliteCatalog {
  const catalog = SqliteCatalog.open(':memory:');
  onTestFinished(() => {
    catalog.close();
  });
  for (const row of rows) catalog.put(row);
  return catalog;
}

/** How many rows are decoded meanwhile: each has one column that always is. */
function decodedBy(call: () => unknown): number {
  const parse = vi.spyOn(JSON, 'parse');
  try {
    call();
    return parse.mock.calls.length;
  } finally {
    parse.mockRestore();
  }
}

describe('the neighbour of a segment', () => {
  test('is the nearest of its run that there is', () => {
    const catalog = catalogOf([sealedRow(1), sealedRow(2), sealedRow(5), { ...sealedRow(3), run: 'cd'.repeat(16) }]);
    const of = (sequence: number, direction: -1 | 1) => catalog.neighbour(RUN, sequence, direction)?.sequence;
    expect([of(2, -1), of(2, 1), of(3, -1), of(3, 1)]).toEqual([1, 5, 2, 5]);
    expect([of(1, -1), of(5, 1)]).toEqual([undefined, undefined]);
  });

  test('is decoded alone, and once: until it is another', () => {
    const catalog = catalogOf(Array.from({ length: 100 }, (_, i) => sealedRow(i)));
    const ask = () => catalog.neighbour(RUN, 50, -1);
    expect([decodedBy(ask), decodedBy(ask)]).toEqual([1, 0]);
    catalog.put({ ...sealedRow(49), repairGeneration: 1 });
    expect(ask()?.repairGeneration).toBe(1);
  });
});

test('a run starts with its first sealed segment in time', () => {
  const catalog = catalogOf([sealedRow(0), sealedRow(1, START_UTC_MS - 5000)]);
  catalog.put({ ...sealedRow(2, START_UTC_MS - 9000), state: 'open', endUtcMs: undefined });
  expect([catalog.runStart(RUN), catalog.runStart('cd'.repeat(16))]).toEqual([START_UTC_MS - 5000, Infinity]);
});

const all = (catalog: SqliteCatalog) => () => catalog.segments('door', -Infinity, Infinity);

describe('rows that are asked for again', () => {
  test('are not decoded again, whatever was asked for in between', () => {
    const catalog = catalogOf(Array.from({ length: 6000 }, (_, i) => sealedRow(i)));
    expect(decodedBy(all(catalog))).toBe(6000);
    expect(decodedBy(() => catalog.neighbour(RUN, 10, 1))).toBe(0);
    expect(decodedBy(all(catalog))).toBe(0);
  });

  test('and are more than are kept: only the rest is decoded', () => {
    const catalog = catalogOf(Array.from({ length: 17_000 }, (_, i) => sealedRow(i)));
    all(catalog)();
    expect(decodedBy(all(catalog))).toBeLessThan(1000);
    expect(all(catalog)()).toHaveLength(17_000);
  });

  test('beside one that is open: only that one is decoded', () => {
    const catalog = catalogOf(Array.from({ length: 50 }, (_, i) => sealedRow(i)));
    catalog.put({ ...sealedRow(50), state: 'open', endUtcMs: undefined });
    expect([decodedBy(all(catalog)), decodedBy(all(catalog))]).toEqual([51, 1]);
  });
});
