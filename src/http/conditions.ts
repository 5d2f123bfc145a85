/**
 * Conditional requests (RFC 9110 section 13), as pure functions.
 *
 * What cannot be understood never makes a condition hold that protects somebody: an entity tag that is not well-formed
 * is nobody's, so `If-Match` fails and `If-None-Match` sends the whole. A date that is not well-formed is ignored (13.1.3,
 * 13.1.4).
 */

/** The fields of a request, each as one value; undefined where it was not sent. */
export interface ConditionFields {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifModifiedSince: string | undefined;
  readonly ifUnmodifiedSince: string | undefined;
}

/** What tells one version of an answer from another. */
export interface Validators {
  /** Strong, quotes included. */
  readonly etag: string;
  /** Whole seconds, Unix ms; undefined where the answer has no such date: conditions on dates are ignored then. */
  readonly lastModifiedUtcMs: number | undefined;
}

/** What to do with a GET or a HEAD: go on, 304, or 412. */
export type Verdict = 'send' | 'not-modified' | 'failed';

/** Evaluates the conditions in the order of RFC 9110 13.2.2; If-Range is a matter of the range, see `rangeApplies`. */
export function judge(fields: ConditionFields, validators: Validators, nowUtcMs: number): Verdict {
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = fields;
  const { etag, lastModifiedUtcMs } = validators;
  const unmodifiedSince = (date: string | undefined) => {
    const dateUtcMs = parseHttpDate(date ?? '', nowUtcMs);
    if (dateUtcMs === undefined || lastModifiedUtcMs === undefined) return undefined;
    return lastModifiedUtcMs <= dateUtcMs;
  };
  // A date counts only where there is no entity tag of the same purpose (13.1.3, 13.1.4).
  const protects = ifMatch === undefined ? unmodifiedSince(ifUnmodifiedSince) : namesStrongly(ifMatch, etag);
  if (protects === false) return 'failed';
  const known = ifNoneMatch === undefined ? unmodifiedSince(ifModifiedSince) : namesWeakly(ifNoneMatch, etag);
  return known === true ? 'not-modified' : 'send';
}

/**
 * Whether the range still applies: If-Range holds the strong entity tag (13.1.5). A date never does: Last-Modified says
 * when the footage ends, and two answers that differ may end in the same second, so it is no strong validator (8.8.2.2).
 */
export function rangeApplies(ifRange: string | undefined, etag: string): boolean {
  return ifRange === undefined || ifRange.trim() === etag;
}

/** Strong comparison (8.8.3.2): a weak tag names nothing. */
function namesStrongly(field: string, etag: string): boolean {
  return field.trim() === '*' || entityTags(field).includes(etag);
}

/** Weak comparison (8.8.3.2). */
function namesWeakly(field: string, etag: string): boolean {
  return field.trim() === '*' || entityTags(field).some((tag) => tag.replace(/^W\//, '') === etag);
}

/** An element of a list, perhaps empty, and what ends it. A quote ends a tag, nothing escapes it (8.8.3). */
const ELEMENT = /[ \t]*(?:((?:W\/)?"[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|$)/y;

/** The entity tags of a list (5.6.1). From what is not well-formed on, nothing can be told apart: the rest is left. */
export function entityTags(field: string): string[] {
  const tags: string[] = [];
  ELEMENT.lastIndex = 0;
  while (ELEMENT.lastIndex < field.length) {
    const match = ELEMENT.exec(field);
    if (match === null) break;
    if (match[1] !== undefined) tags.push(match[1]);
  }
  return tags;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const DAY = '(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)';
const LONG_DAY = '(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day';
const MONTH = `(?<month>${MONTHS.join('|')})`;
const TIME = '(?<time>[0-9]{2}:[0-9]{2}:[0-9]{2})';

/** IMF-fixdate, and the two obsolete forms that recipients must take (5.6.7). */
const HTTP_DATES = [
  new RegExp(`^${DAY}, (?<day>[0-9]{2}) ${MONTH} (?<year>[0-9]{4}) ${TIME} GMT$`),
  new RegExp(`^${LONG_DAY}, (?<day>[0-9]{2})-${MONTH}-(?<year>[0-9]{2}) ${TIME} GMT$`),
  new RegExp(`^${DAY} ${MONTH} (?<day>[ 0-9][0-9]) ${TIME} (?<year>[0-9]{4})$`),
];

/** Unix ms of an HTTP-date; undefined for what is none. */
export function parseHttpDate(text: string, nowUtcMs: number): number | undefined {
  const groups = HTTP_DATES.map((form) => form.exec(text.trim())?.groups).find((found) => found !== undefined);
  if (groups === undefined) return undefined;
  const { year = '', month = '', day = '', time = '' } = groups;
  const rest = `${twoDigits(MONTHS.indexOf(month) + 1)}-${twoDigits(Number(day))}T${time}`;
  return year.length === 4 ? utcMsOf(year, rest) : utcMsOfShortYear(Number(year), rest, nowUtcMs);
}

const twoDigits = (value: number) => String(value).padStart(2, '0');

/** undefined for a day or a time of day that does not exist. */
function utcMsOf(year: string, rest: string): number | undefined {
  const utcMs = Date.parse(`${year}-${rest}Z`);
  // Date takes 30 February for a day of March.
  if (Number.isNaN(utcMs) || new Date(utcMs).toISOString() !== `${year}-${rest}.000Z`) return undefined;
  return utcMs;
}

/** A year of two digits that seems to lie more than 50 years ahead is the last one before with the same digits (5.6.7). */
function utcMsOfShortYear(digits: number, rest: string, nowUtcMs: number): number | undefined {
  const thisYear = new Date(nowUtcMs).getUTCFullYear();
  const year = thisYear - (thisYear % 100) + digits;
  const in50Years = new Date(nowUtcMs).setUTCFullYear(thisYear + 50);
  const utcMs = utcMsOf(String(year), rest);
  return utcMs === undefined || utcMs <= in50Years ? utcMs : utcMsOf(String(year - 100), rest);
}
