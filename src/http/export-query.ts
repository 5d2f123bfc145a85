/**
 * The query of an export: one table of what may be asked for, the same at every address of an export.
 */
import { FootageError } from '../errors.ts';
import type { SessionRequest } from '../session/request.ts';

/** What may be asked of an export besides its camera. Only what was given is set. */
export type ExportOptions = Omit<SessionRequest, 'camera'>;

type Key = keyof ExportOptions;

interface Parameter<T> {
  /** Says in an error what is allowed. */
  readonly allowed: string;
  /** The value; undefined for what is not allowed. */
  readonly read: (text: string) => T | undefined;
}

/** Times and lengths of time are judged where they are understood. */
const anything: Parameter<string> = { allowed: 'any text', read: (text) => text };

function oneOf<const T extends string>(...words: readonly T[]): Parameter<T> {
  return { allowed: words.join(' or '), read: (text) => words.find((word) => word === text) };
}

const flag: Parameter<boolean> = {
  allowed: '1 or 0',
  read: (text) => (text === '1' ? true : text === '0' ? false : undefined),
};

function numberLike(pattern: RegExp, allowed: string): Parameter<number> {
  const read = (text: string) => {
    const value = pattern.test(text) ? Number(text) : 0;
    return value > 0 && value <= Number.MAX_SAFE_INTEGER ? value : undefined;
  };
  return { allowed, read };
}

const PARAMETERS: { readonly [K in Key]-?: Parameter<NonNullable<ExportOptions[K]>> } = {
  start: anything,
  end: anything,
  duration: anything,
  gaps: oneOf('collapse', 'freeze', 'error'),
  tracks: oneOf('video', 'audio'),
  keyframes: flag,
  speed: numberLike(/^[0-9]+(\.[0-9]+)?$/, 'a number above 0, such as 8'),
  changes: oneOf('error', 'split', 'drop-audio'),
  part: numberLike(/^[0-9]+$/, 'the number of a part, from 1 on'),
  begin: oneOf('exact', 'keyframe', 'next'),
  format: oneOf('mp4', 'fmp4'),
};
const KEYS = Object.keys(PARAMETERS) as Key[];

/**
 * The options that a query gives; keys that are not of an export are ignored. What does not go together is the archive's
 * to refuse.
 * @throws FootageError E_QUERY
 */
export function parseExportQuery(query: URLSearchParams): ExportOptions {
  const given = KEYS.flatMap((key) => {
    const text = textOf(query, key);
    return text === undefined ? [] : [[key, read(key, text)] as const];
  });
  const options: Partial<Record<Key, unknown>> = Object.fromEntries(given);
  if (options.start === undefined) {
    throw new FootageError('E_QUERY', 'A range needs a start, and an end or a duration, not both.');
  }
  return options as ExportOptions;
}

function read(key: Key, text: string): unknown {
  const { allowed, read: readText } = PARAMETERS[key];
  const value = readText(text);
  if (value !== undefined) return value;
  throw new FootageError('E_QUERY', `"${key}" is ${allowed}, not "${text.slice(0, 40)}".`);
}

const isWordOfBegin = (text: string) => PARAMETERS.begin.read(text) !== undefined;

/** The one text of a key. `start` may be there twice: as a time, and as the word of `begin`. */
function textOf(query: URLSearchParams, key: Key): string | undefined {
  const starts = query.getAll('start');
  const words = starts.length > 1 ? starts.filter(isWordOfBegin) : [];
  const texts = key === 'start' ? starts.filter((text) => !words.includes(text)) : query.getAll(key);
  if (key === 'begin') texts.push(...words);
  if (texts.length <= 1) return texts[0];
  throw new FootageError('E_QUERY', `"${key}" is given ${texts.length} times: give it once.`);
}

/** The same request for another address of the same export: what decides the answer, and nothing else of the query. */
export function sameQuery(query: URLSearchParams): string {
  return knownOf(query).toString();
}

/** The same request for another part of a split answer. */
export function queryOfPart(query: URLSearchParams, part: number): string {
  const known = knownOf(query);
  known.set('part', String(part));
  return known.toString();
}

function knownOf(query: URLSearchParams): URLSearchParams {
  const known: readonly string[] = KEYS;
  return new URLSearchParams([...query].filter(([key]) => known.includes(key)));
}
