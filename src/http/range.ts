/**
 * The Range field (RFC 9110 section 14), as pure functions.
 */
import type { ByteRange } from '../session/virtual-file.ts';

/** Parts of one answer. Who asks for more gets the whole: so many small parts are a mistake or an attack (14.2). */
export const MAX_PARTS = 64;

export type RangeResult =
  | { readonly kind: 'whole' }
  /** At least one range; none is empty, none touches another. */
  | { readonly kind: 'parts'; readonly ranges: readonly ByteRange[] }
  | { readonly kind: 'unsatisfiable' };

const WHOLE: RangeResult = { kind: 'whole' };

/**
 * What a Range field asks for in an answer of `length` bytes. Ranges that overlap or touch become one, in the place of
 * the first of them; what lies behind the end is left out (15.3.7.2). A field that is not valid is ignored (14.2).
 */
export function parseRange(field: string | undefined, length: number): RangeResult {
  const set = /^bytes=(.*)$/i.exec(field?.trim() ?? '')?.[1] ?? '';
  const specs = set.split(',').map((spec) => spec.trim());
  const asked = specs.filter((spec) => spec !== '').map((spec) => rangeOf(spec, length));
  if (asked.length === 0 || asked.includes('invalid')) return WHOLE;
  const ranges = coalesced(asked.filter((range) => typeof range === 'object'));
  if (ranges.length === 0) return { kind: 'unsatisfiable' };
  return ranges.length > MAX_PARTS ? WHOLE : { kind: 'parts', ranges };
}

/** `first-last`, `first-` or `-length` (14.1.1). */
function rangeOf(spec: string, length: number): ByteRange | 'invalid' | 'unsatisfiable' {
  const [, first = '', last = ''] = /^([0-9]*)-([0-9]*)$/.exec(spec) ?? [];
  if (first === '' && last === '') return 'invalid';
  if (first === '') {
    const count = Math.min(Number(last), length);
    return count === 0 ? 'unsatisfiable' : { start: length - count, end: length };
  }
  // Exact, however many digits there are.
  if (last !== '' && BigInt(last) < BigInt(first)) return 'invalid';
  const start = Number(first);
  if (start >= length) return 'unsatisfiable';
  return { start, end: last === '' ? length : Math.min(Number(last) + 1, length) };
}

/** The same bytes in ranges that neither overlap nor touch; each stands where the first it is made of stood. */
function coalesced(ranges: readonly ByteRange[]): ByteRange[] {
  const merged: { start: number; end: number; place: number }[] = [];
  const placed = ranges.map((range, place) => ({ ...range, place }));
  for (const range of placed.toSorted((a, b) => a.start - b.start)) {
    const before = merged.at(-1);
    if (before === undefined || range.start > before.end) merged.push(range);
    else {
      before.end = Math.max(before.end, range.end);
      before.place = Math.min(before.place, range.place);
    }
  }
  return merged.toSorted((a, b) => a.place - b.place).map(({ start, end }) => ({ start, end }));
}
