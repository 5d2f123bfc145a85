/**
 * Range, If-Range and If-None-Match of one request (RFC 9110 sections 13 and 14), as pure functions.
 */

export type RangeResult =
  | { readonly kind: 'whole' }
  | { readonly kind: 'part'; readonly start: number; readonly end: number }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RangeResult = { kind: 'whole' };
const SINGLE_RANGE = /^bytes=\s*(\d*)-(\d*)\s*$/i;

/**
 * The bytes [start, end) that a Range field asks for in an answer of `length` bytes. What is not one byte range is
 * ignored, as RFC 9110 14.2 allows.
 */
export function parseRange(field: string | undefined, length: number): RangeResult {
  const match = SINGLE_RANGE.exec(field ?? '');
  const [, first = '', last = ''] = match ?? [];
  if (match === null || (first === '' && last === '')) return WHOLE;
  if (first === '') {
    const count = Math.min(Number(last), length);
    return count === 0 ? { kind: 'unsatisfiable' } : { kind: 'part', start: length - count, end: length };
  }
  const start = Number(first);
  const end = last === '' ? length : Math.min(Number(last) + 1, length);
  if (last !== '' && Number(last) < start) return WHOLE;
  return start >= length ? { kind: 'unsatisfiable' } : { kind: 'part', start, end };
}

/** Whether If-None-Match names the entity tag; weak comparison (RFC 9110 13.1.2). */
export function matchesNone(field: string | undefined, etag: string): boolean {
  if (field === undefined) return false;
  if (field.trim() === '*') return true;
  return field.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag);
}

/** Whether the range still applies: If-Range holds the strong entity tag (RFC 9110 13.1.5); dates never do. */
export function rangeApplies(ifRange: string | string[] | undefined, etag: string): boolean {
  return ifRange === undefined || String(ifRange).trim() === etag;
}
