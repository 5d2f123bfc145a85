/** Conditional requests as pure functions (RFC 9110 section 13): lists of entity tags, dates, and the order of it all. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type ConditionFields, entityTags, judge, parseHttpDate, rangeApplies } from '../../src/http/conditions.ts';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const CHANGED = Date.parse('2026-01-31T12:00:16Z');
const BEFORE = 'Sat, 31 Jan 2026 12:00:15 GMT';
const THEN = 'Sat, 31 Jan 2026 12:00:16 GMT';
const AFTER = 'Sat, 31 Jan 2026 12:00:17 GMT';

const NO_FIELDS: ConditionFields = {
  ifMatch: undefined,
  ifNoneMatch: undefined,
  ifModifiedSince: undefined,
  ifUnmodifiedSince: undefined,
};
const verdict = (fields: Partial<ConditionFields>) =>
  judge({ ...NO_FIELDS, ...fields }, { etag: '"a"', lastModifiedUtcMs: CHANGED }, NOW);

test('without conditions it is sent', () => {
  expect(verdict({})).toBe('send');
});

describe('If-None-Match (weak comparison)', () => {
  test.each([
    ['"a"', 'not-modified'],
    ['W/"a"', 'not-modified'],
    ['*', 'not-modified'],
    [' * ', 'not-modified'],
    ['"b"', 'send'],
    ['"b", "a"', 'not-modified'],
    ['"b",W/"a" , "c"', 'not-modified'],
    [',, "a"', 'not-modified'],
    ['"b,a", "a"', 'not-modified'],
    ['"b, "a"', 'send'],
    ['a', 'send'],
    ['"A"', 'send'],
    ['w/"a"', 'send'],
    ['"b", *', 'send'],
    ['', 'send'],
  ] as const)('%s: %s', (ifNoneMatch, expected) => {
    expect(verdict({ ifNoneMatch })).toBe(expected);
  });
});

describe('If-Match (strong comparison)', () => {
  test.each([
    ['"a"', 'send'],
    ['*', 'send'],
    ['"b", "a"', 'send'],
    ['W/"a"', 'failed'],
    ['"b"', 'failed'],
    ['"b,a"', 'failed'],
    ['a', 'failed'],
    ['', 'failed'],
  ] as const)('%s: %s', (ifMatch, expected) => {
    expect(verdict({ ifMatch })).toBe(expected);
  });
});

describe('dates', () => {
  test.each([
    [BEFORE, 'send'],
    [THEN, 'not-modified'],
    [AFTER, 'not-modified'],
    ['Saturday, 31-Jan-26 12:00:17 GMT', 'not-modified'],
    ['yesterday', 'send'],
    ['', 'send'],
  ] as const)('If-Modified-Since %s: %s', (ifModifiedSince, expected) => {
    expect(verdict({ ifModifiedSince })).toBe(expected);
  });

  test.each([
    [BEFORE, 'failed'],
    [THEN, 'send'],
    [AFTER, 'send'],
    ['yesterday', 'send'],
  ] as const)('If-Unmodified-Since %s: %s', (ifUnmodifiedSince, expected) => {
    expect(verdict({ ifUnmodifiedSince })).toBe(expected);
  });

  test('an answer whose date lies ahead has none to compare with', () => {
    const undated = { etag: '"a"', lastModifiedUtcMs: undefined };
    expect(judge({ ...NO_FIELDS, ifModifiedSince: AFTER }, undated, NOW)).toBe('send');
    expect(judge({ ...NO_FIELDS, ifUnmodifiedSince: BEFORE }, undated, NOW)).toBe('send');
  });
});

test('the order of 13.2.2: tags before dates, what protects before what saves', () => {
  expect(verdict({ ifMatch: '"a"', ifUnmodifiedSince: BEFORE })).toBe('send');
  expect(verdict({ ifMatch: '"b"', ifUnmodifiedSince: AFTER })).toBe('failed');
  expect(verdict({ ifNoneMatch: '"b"', ifModifiedSince: AFTER })).toBe('send');
  expect(verdict({ ifNoneMatch: '"a"', ifModifiedSince: BEFORE })).toBe('not-modified');
  expect(verdict({ ifMatch: '"b"', ifNoneMatch: '"a"' })).toBe('failed');
  expect(verdict({ ifMatch: '"a"', ifNoneMatch: '"a"' })).toBe('not-modified');
  expect(verdict({ ifUnmodifiedSince: BEFORE, ifModifiedSince: AFTER })).toBe('failed');
});

test.each([
  [undefined, true],
  ['"a"', true],
  [' "a" ', true],
  ['"b"', false],
  ['W/"a"', false], // strong comparison (13.1.5)
  ['"a", "b"', false], // one tag, no list
  [THEN, false],
  ['*', false],
  ['', false],
])('If-Range %s: %s', (field, applies) => {
  expect(rangeApplies(field, '"a"')).toBe(applies);
});

describe('lists of entity tags', () => {
  test.each<readonly [string, readonly string[]]>([
    ['"a"', ['"a"']],
    ['"a,b","c"', ['"a,b"', '"c"']],
    ['"", W/""', ['""', 'W/""']],
    // A backslash escapes nothing (8.8.3).
    ['"a\\", "b"', ['"a\\"', '"b"']],
    ['"W/", "*"', ['"W/"', '"*"']],
    ['"a", b, "c"', ['"a"']],
    ['"a" "b"', []],
    ['"a"b", "c"', []],
    ['"a', []],
    ['"a b"', []],
    [' ,\t, ', []],
  ])('%s', (field, tags) => {
    expect(entityTags(field)).toEqual(tags);
  });

  test('whatever well-formed tags are written, they are read', () => {
    const character = fc.integer({ min: 0x21, max: 0xff }).filter((code) => code !== 0x22 && code !== 0x7f);
    const opaque = fc.array(character, { maxLength: 8 }).map((codes) => `"${String.fromCharCode(...codes)}"`);
    const tag = fc.tuple(
      fc.constantFrom('', 'W/'),
      opaque.filter((text) => !/[\x80-\x9f]/.test(text)),
    );
    const separator = fc.constantFrom(',', ', ', ' ,\t', ',,', ', , ');
    fc.assert(
      fc.property(fc.array(tag, { maxLength: 8 }), separator, (pairs, between) => {
        const tags = pairs.map(([weak, text]) => weak + text);
        expect(entityTags(tags.join(between))).toEqual(tags);
      }),
    );
  });
});

describe('HTTP-dates', () => {
  test.each([
    ['Sun, 06 Nov 1994 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['Sunday, 06-Nov-94 08:49:37 GMT', '1994-11-06T08:49:37Z'],
    ['Sun Nov  6 08:49:37 1994', '1994-11-06T08:49:37Z'],
    ['Sat Jan 31 12:00:16 2026', '2026-01-31T12:00:16Z'],
    // Two digits: at most 50 years ahead of now, 22 November 2026.
    ['Sunday, 22-Nov-76 12:00:00 GMT', '2076-11-22T12:00:00Z'],
    ['Monday, 22-Nov-76 12:00:01 GMT', '1976-11-22T12:00:01Z'],
    ['Friday, 01-Jan-99 00:00:00 GMT', '1999-01-01T00:00:00Z'],
  ])('%s', (text, iso) => {
    expect(parseHttpDate(text, NOW)).toBe(Date.parse(iso));
  });

  test.each([
    'Sun, 06 Nov 1994 08:49:37',
    'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 6 Nov 1994 08:49:37 GMT',
    'sun, 06 nov 1994 08:49:37 gmt',
    'Mon, 30 Feb 2026 08:49:37 GMT',
    'Sun, 06 Nov 1994 24:00:00 GMT',
    'Sun, 06-Nov-94 08:49:37 GMT',
    '1994-11-06T08:49:37Z',
    '784111777',
    '',
  ])('%s is none', (text) => {
    expect(parseHttpDate(text, NOW)).toBeUndefined();
  });

  test('what Last-Modified says is understood', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 253_402_300_799 }), (seconds) => {
        expect(parseHttpDate(new Date(seconds * 1000).toUTCString(), NOW)).toBe(seconds * 1000);
      }),
    );
  });
});
