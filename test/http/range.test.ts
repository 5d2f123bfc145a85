/** Range, If-Range and If-None-Match as pure functions (RFC 9110 sections 13 and 14). */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { matchesNone, parseRange, rangeApplies, type RangeResult } from '../../src/http/range.ts';

const WHOLE: RangeResult = { kind: 'whole' };
const NONE: RangeResult = { kind: 'unsatisfiable' };
const part = (start: number, end: number): RangeResult => ({ kind: 'part', start, end });

describe('Range, of 1000 bytes', () => {
  test.each<readonly [string | undefined, RangeResult]>([
    [undefined, WHOLE],
    ['bytes=0-0', part(0, 1)],
    ['bytes=0-999', part(0, 1000)],
    ['bytes=0-', part(0, 1000)],
    ['bytes=999-', part(999, 1000)],
    ['bytes=10-19', part(10, 20)],
    ['bytes=990-5000', part(990, 1000)],
    ['bytes=0-99999999999999999999', part(0, 1000)],
    ['bytes=-1', part(999, 1000)],
    ['bytes=-1000', part(0, 1000)],
    ['bytes=-5000', part(0, 1000)],
    ['Bytes=10-19', part(10, 20)], // range units are case-insensitive (14.1)
    ['bytes= 10-19 ', part(10, 20)],
    ['bytes=1000-', NONE],
    ['bytes=1000-1001', NONE],
    ['bytes=99999999999999999999-', NONE],
    ['bytes=-0', NONE],
    // Invalid, another unit, or several: ignored, so the whole is the answer.
    ['bytes=20-10', WHOLE],
    ['bytes=-', WHOLE],
    ['bytes=', WHOLE],
    ['bytes=a-b', WHOLE],
    ['bytes=1.5-2', WHOLE],
    ['bytes=+1-2', WHOLE],
    ['bytes=--5', WHOLE],
    ['bytes 0-1', WHOLE],
    ['items=0-1', WHOLE],
    ['bytes=0-1,5-6', WHOLE],
    ['', WHOLE],
  ])('%s', (field, result) => {
    expect(parseRange(field, 1000)).toEqual(result);
  });

  test('every valid range gives the bytes of an array’s slice', () => {
    const position = fc.nat(1200);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), position, position, (length, a, b) => {
        const [first, last] = [Math.min(a, b), Math.max(a, b)];
        const bytes = Array.from({ length }, (_, i) => i);
        const expected = bytes.slice(first, last + 1);
        const result = parseRange(`bytes=${first}-${last}`, length);
        if (expected.length === 0) expect(result).toEqual(NONE);
        else expect(result).toEqual(part(first, first + expected.length));
      }),
    );
  });

  test('of an empty answer nothing is satisfiable', () => {
    for (const field of ['bytes=0-', 'bytes=0-0', 'bytes=-1']) expect(parseRange(field, 0)).toEqual(NONE);
  });
});

describe('If-None-Match', () => {
  test.each([
    [undefined, false],
    ['"a"', true],
    ['W/"a"', true],
    ['*', true],
    [' * ', true],
    ['"b"', false],
    ['"b", "a"', true],
    ['"b",W/"a" , "c"', true],
    ['a', false],
    ['"A"', false],
    ['', false],
  ])('%s', (field, matches) => {
    expect(matchesNone(field, '"a"')).toBe(matches);
  });
});

describe('If-Range', () => {
  test.each([
    [undefined, true],
    ['"a"', true],
    ['"b"', false],
    ['W/"a"', false], // strong comparison (13.1.5)
    ['Sat, 31 Jan 2026 12:00:00 GMT', false],
    ['*', false],
    ['', false],
  ])('%s', (field, applies) => {
    expect(rangeApplies(field, '"a"')).toBe(applies);
  });
});
