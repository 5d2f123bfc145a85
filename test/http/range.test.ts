/** The Range field as a pure function (RFC 9110 section 14), by example and against a model that marks every byte. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MAX_PARTS, parseRange, type RangeResult } from '../../src/http/range.ts';

const WHOLE: RangeResult = { kind: 'whole' };
const NONE: RangeResult = { kind: 'unsatisfiable' };
const parts = (...ranges: readonly (readonly [number, number])[]): RangeResult => ({
  kind: 'parts',
  ranges: ranges.map(([start, end]) => ({ start, end })),
});

/** Each third byte, so many of them. */
const every = (count: number) => Array.from({ length: count }, (_, i) => [i * 3, i * 3 + 1] as const);

describe('of 1000 bytes', () => {
  test.each<readonly [string | undefined, RangeResult]>([
    [undefined, WHOLE],
    ['bytes=0-0', parts([0, 1])],
    ['bytes=0-999', parts([0, 1000])],
    ['bytes=0-', parts([0, 1000])],
    ['bytes=999-', parts([999, 1000])],
    ['bytes=10-19', parts([10, 20])],
    ['bytes=990-5000', parts([990, 1000])],
    ['bytes=0-99999999999999999999', parts([0, 1000])],
    ['bytes=-1', parts([999, 1000])],
    ['bytes=-1000', parts([0, 1000])],
    ['bytes=-5000', parts([0, 1000])],
    ['Bytes=10-19', parts([10, 20])], // range units are case-insensitive (14.1)
    ['bytes= 10-19 ', parts([10, 20])],
    ['bytes=1000-', NONE],
    ['bytes=1000-1001', NONE],
    ['bytes=99999999999999999999-', NONE],
    ['bytes=-0', NONE],
    // Not valid, or another unit: ignored, so the whole is the answer.
    ['bytes=20-10', WHOLE],
    ['bytes=100000000000000000001-100000000000000000000', WHOLE],
    ['bytes=-', WHOLE],
    ['bytes=', WHOLE],
    ['bytes=,', WHOLE],
    ['bytes=a-b', WHOLE],
    ['bytes=1.5-2', WHOLE],
    ['bytes=+1-2', WHOLE],
    ['bytes=--5', WHOLE],
    ['bytes=1 -2', WHOLE],
    ['bytes =1-2', WHOLE],
    ['bytes 0-1', WHOLE],
    ['items=0-1', WHOLE],
    ['', WHOLE],
  ])('%s', (field, result) => {
    expect(parseRange(field, 1000)).toEqual(result);
  });

  test.each<readonly [string, RangeResult]>([
    ['bytes=0-1,5-6', parts([0, 2], [5, 7])],
    ['bytes=5-6 , 0-1', parts([5, 7], [0, 2])], // in the order they were asked for (15.3.7.2)
    ['bytes=,0-1,,\t5-6,', parts([0, 2], [5, 7])], // empty elements of a list count for nothing (5.6.1)
    ['bytes=500-, -1', parts([500, 1000])],
    ['bytes=0-9,5-14', parts([0, 15])],
    ['bytes=0-9,10-19', parts([0, 20])],
    ['bytes=10-19,0-9', parts([0, 20])],
    ['bytes=0-9,11-19', parts([0, 10], [11, 20])],
    ['bytes=900-909,0-9,400-409,5-14', parts([900, 910], [0, 15], [400, 410])],
    ['bytes=0-9,20-29,5-24', parts([0, 30])],
    ['bytes=0-9,0-9,0-9', parts([0, 10])],
    ['bytes=2000-,0-1', parts([0, 2])],
    ['bytes=2000-,-0', NONE],
    // One that is not valid makes all of it invalid (14.1.1).
    ['bytes=0-1,6-5', WHOLE],
    ['bytes=0-1,x', WHOLE],
    ['bytes=0-1,bytes=5-6', WHOLE],
  ])('several: %s', (field, result) => {
    expect(parseRange(field, 1000)).toEqual(result);
  });

  test('as many parts as there may be, and one more', () => {
    const field = (count: number) =>
      `bytes=${every(count)
        .map(([start]) => `${start}-${start}`)
        .join(',')}`;
    expect(parseRange(field(MAX_PARTS), 1000)).toEqual(parts(...every(MAX_PARTS)));
    expect(parseRange(field(MAX_PARTS + 1), 1000)).toEqual(WHOLE);
    // What becomes one range, or lies outside, is no part.
    expect(parseRange(`${field(MAX_PARTS)},0-0,1000-`, 1000)).toEqual(parts(...every(MAX_PARTS)));
  });

  test('of an empty answer nothing is satisfiable', () => {
    for (const field of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) expect(parseRange(field, 0)).toEqual(NONE);
  });
});

/** What the field is written from; the model goes by this and never reads the text. */
type Spec =
  | { readonly kind: 'span'; readonly first: number; readonly last: number }
  | { readonly kind: 'open'; readonly first: number }
  | { readonly kind: 'suffix'; readonly count: number }
  | { readonly kind: 'other'; readonly text: string };

function written(spec: Spec): string {
  if (spec.kind === 'other') return spec.text;
  if (spec.kind === 'suffix') return `-${spec.count}`;
  return spec.kind === 'open' ? `${spec.first}-` : `${spec.first}-${spec.last}`;
}

function takes(spec: Spec, position: number, length: number): boolean {
  if (spec.kind === 'other') return false;
  if (spec.kind === 'suffix') return position >= length - spec.count;
  return position >= spec.first && (spec.kind === 'open' || position <= spec.last);
}

const isInvalid = (spec: Spec) => spec.kind === 'other' || (spec.kind === 'span' && spec.last < spec.first);

/** Every byte has the number of the first range that takes it; what is marked without a break is one part. */
function model(specs: readonly Spec[], length: number): RangeResult {
  if (specs.length === 0 || specs.some(isInvalid)) return WHOLE;
  const marks = Array.from({ length }, (_, position) => specs.findIndex((spec) => takes(spec, position, length)));
  const runs: { start: number; end: number; first: number }[] = [];
  marks.forEach((mark, position) => {
    if (mark === -1) return;
    const run = runs.at(-1);
    if (run?.end !== position) runs.push({ start: position, end: position + 1, first: mark });
    else Object.assign(run, { end: position + 1, first: Math.min(run.first, mark) });
  });
  if (runs.length === 0) return NONE;
  if (runs.length > 64) return WHOLE;
  return {
    kind: 'parts',
    ranges: runs.toSorted((a, b) => a.first - b.first).map(({ start, end }) => ({ start, end })),
  };
}

const position = fc.nat(260);
const validSpec: fc.Arbitrary<Spec> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(position, fc.nat(12))
      .map(([first, more]): Spec => ({ kind: 'span', first, last: first + more })),
  },
  { weight: 9, arbitrary: position.map((first): Spec => ({ kind: 'span', first, last: first })) },
  { weight: 1, arbitrary: fc.integer({ min: 180, max: 300 }).map((first): Spec => ({ kind: 'open', first })) },
  { weight: 1, arbitrary: fc.nat(40).map((count): Spec => ({ kind: 'suffix', count })) },
);
const invalidSpec: fc.Arbitrary<Spec> = fc.oneof(
  fc.integer({ min: 1, max: 260 }).map((first): Spec => ({ kind: 'span', first, last: first - 1 })),
  fc.constantFrom('-', 'x', '1-2-3', '1 - 2', '"1-2"').map((text): Spec => ({ kind: 'other', text })),
);
/** Mostly valid ones; few, or as many as reach the limit of parts. */
const anySpecs = fc
  .tuple(
    fc.array(validSpec, { maxLength: 6 }),
    fc.array(validSpec, { maxLength: 180 }),
    fc.nat(3),
    fc.option(invalidSpec, { freq: 8 }),
  )
  .map(([few, many, which, bad]) => [...(which === 0 ? many : few), ...(bad === null ? [] : [bad])]);
const comma = fc.constantFrom(',', ', ', ' ,', ',,', ' \t, ,\t');

test('every field takes what a model that marks each byte takes', () => {
  const seen = { whole: 0, parts: 0, unsatisfiable: 0, several: 0 };
  fc.assert(
    fc.property(
      anySpecs,
      fc.array(comma, { minLength: 1, maxLength: 5 }),
      fc.integer({ min: 1, max: 250 }),
      (specs, commas, length) => {
        const set = specs.map((spec, i) => (i === 0 ? '' : commas[i % commas.length]) + written(spec)).join('');
        const result = parseRange(`bytes=${set}`, length);
        expect(result).toEqual(model(specs, length));
        seen[result.kind]++;
        if (result.kind === 'parts' && result.ranges.length > 1) seen.several++;
      },
    ),
    { numRuns: 1000 },
  );
  // The property says something about each kind of answer.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});
