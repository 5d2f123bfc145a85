/** The query of an export: what is taken, what is refused, and what is handed on. */
import { describe, expect, test } from 'vitest';
import { parseExportQuery, queryOfPart, sameQuery } from '../../src/http/export-query.ts';

const T = '2026-01-31T12:00:00Z';
const parse = (query: string) => parseExportQuery(new URLSearchParams(query));

test('only what was given is set', () => {
  expect(parse(`start=${T}&duration=5`)).toEqual({ start: T, duration: '5' });
  expect(parse(`start=${T}&end=1769860801.5&unknown=1&download`)).toEqual({ start: T, end: '1769860801.5' });
});

test.each([
  ['gaps=collapse', { gaps: 'collapse' }],
  ['gaps=freeze', { gaps: 'freeze' }],
  ['gaps=error', { gaps: 'error' }],
  ['tracks=video', { tracks: 'video' }],
  ['tracks=audio', { tracks: 'audio' }],
  ['keyframes=1', { keyframes: true }],
  ['keyframes=0', { keyframes: false }],
  ['keyframes=1&speed=8', { keyframes: true, speed: 8 }],
  ['keyframes=1&speed=0.5', { keyframes: true, speed: 0.5 }],
  ['changes=error', { changes: 'error' }],
  ['changes=split', { changes: 'split' }],
  ['changes=split&part=12', { changes: 'split', part: 12 }],
  ['changes=drop-audio', { changes: 'drop-audio' }],
  ['begin=exact', { begin: 'exact' }],
  ['begin=keyframe', { begin: 'keyframe' }],
  ['begin=next', { begin: 'next' }],
  ['start=keyframe', { begin: 'keyframe' }],
  ['format=mp4', { format: 'mp4' }],
  ['format=fmp4', { format: 'fmp4' }],
])('%s', (query, options) => {
  expect(parse(`start=${T}&duration=5&${query}`)).toEqual({ start: T, duration: '5', ...options });
  expect(parse(`${query}&start=${T}&duration=5`)).toEqual({ start: T, duration: '5', ...options });
});

describe('refused, with what is allowed', () => {
  test.each([
    ['gaps=perhaps', 'collapse or freeze or error'],
    ['gaps=', 'collapse or freeze or error'],
    ['gaps=Collapse', 'collapse or freeze or error'],
    ['tracks=all', 'video or audio'],
    ['keyframes=yes', '1 or 0'],
    ['keyframes=1&speed=0', 'a number above 0'],
    ['keyframes=1&speed=-2', 'a number above 0'],
    ['keyframes=1&speed=1e3', 'a number above 0'],
    ['keyframes=1&speed=fast', 'a number above 0'],
    [`keyframes=1&speed=${'9'.repeat(400)}`, 'a number above 0'],
    ['changes=join', 'error or split or drop-audio'],
    ['changes=split&part=0', 'from 1 on'],
    ['changes=split&part=1.5', 'from 1 on'],
    ['begin=late', 'exact or keyframe or next'],
    ['format=mkv', 'mp4 or fmp4'],
    // Twice: none of them can be meant.
    ['gaps=error&gaps=collapse', 'given 2 times'],
    ['duration=6', 'given 2 times'],
    ['start=2026-01-31T13:00:00Z', 'given 2 times'],
    ['start=keyframe&begin=next', 'given 2 times'],
    ['start=keyframe&start=next', 'given 2 times'],
  ])('%s', (query, allowed) => {
    const refused = () => parse(`start=${T}&duration=5&${query}`);
    expect(refused).toThrow(expect.objectContaining({ code: 'E_QUERY' }));
    expect(refused).toThrow(allowed);
  });

  test('a word of begin is no start by itself', () => {
    expect(() => parse('duration=5')).toThrow('needs a start');
    expect(parse('start=keyframe&duration=5')).toEqual({ start: 'keyframe', duration: '5' });
  });
});

test('another address of the same export gets what decides the answer, and nothing else', () => {
  const same = sameQuery(
    new URLSearchParams(`stream=door&start=${T}&download&start=next&gaps=error&x=%22%3E%0d%0a&end=5`),
  );
  expect([...new URLSearchParams(same)]).toEqual([
    ['start', T],
    ['start', 'next'],
    ['gaps', 'error'],
    ['end', '5'],
  ]);
  // It goes into a header field, between angle brackets.
  expect(sameQuery(new URLSearchParams('start=%3E%0d%0a%22%2c'))).toBe('start=%3E%0D%0A%22%2C');
});

test('another part of the same export: all the rest stays', () => {
  const next = queryOfPart(new URLSearchParams(`start=${T}&changes=split&part=2&download&start=next&end=5`), 3);
  expect([...new URLSearchParams(next)]).toEqual([
    ['start', T],
    ['changes', 'split'],
    ['part', '3'],
    ['start', 'next'],
    ['end', '5'],
  ]);
  expect(new URLSearchParams(queryOfPart(new URLSearchParams(`start=${T}&changes=split`), 2)).get('part')).toBe('2');
});
