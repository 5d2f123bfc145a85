/** What a plan is asked for. */
import { FootageError } from '../errors.ts';
import type { KeysOf } from '../option-keys.ts';
import type { Time } from '../time.ts';

/** Where footage is missing: join what is there; hold the last picture with silence; or refuse. */
export type GapPolicy = 'collapse' | 'freeze' | 'error';

/** Where codec or audio format change: refuse; answer one piece at a time (`part`); or leave out all audio. */
export type ChangePolicy = 'error' | 'split' | 'drop-audio';

/**
 * Where the range begins inside a GOP: its lead-in is hidden (`exact`), shown (`keyframe`), or left out by beginning at
 * the next sync sample (`next`), so that nothing earlier is in the file.
 */
export type BeginPolicy = 'exact' | 'keyframe' | 'next';

export type TrackChoice = 'all' | 'video' | 'audio';

/** One movie with all tables in front; or fragments, for players that append pieces (MSE) and for pipes. */
export type AnswerFormat = 'mp4' | 'fmp4';

export interface PlanRequest {
  readonly camera: string;
  /** Unix ms; end exclusive. */
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  /** Where `begin` moves the start to, once that is known. */
  readonly beginUtcMs?: number;
  readonly gaps: GapPolicy;
  readonly changes: ChangePolicy;
  /** Which piece, from 1, where `changes` is `split`. */
  readonly part: number;
  readonly begin: BeginPolicy;
  readonly tracks: TrackChoice;
  /** Sync samples of the video alone, `speed` times as fast. */
  readonly keyframes: boolean;
  readonly speed: number;
  readonly format: AnswerFormat;
}

/** The part of a request that says what the answer is like. */
export interface AnswerOptions {
  /** What to do where footage is missing. Default `collapse`. */
  readonly gaps?: GapPolicy;
  /** What to do where codec or audio format change. Default `error`. */
  readonly changes?: ChangePolicy;
  /** Which piece, from 1, with `changes: 'split'`. Default 1. */
  readonly part?: number;
  /** Where the answer begins. Default `exact`. */
  readonly begin?: BeginPolicy;
  /** The only kind of track; default all. Nothing of the others is in the answer. */
  readonly tracks?: 'video' | 'audio';
  /** Sync samples of the video alone. Default false. */
  readonly keyframes?: boolean;
  /** Times as fast, with `keyframes`. Default 1. */
  readonly speed?: number;
  /** Default `mp4`. */
  readonly format?: AnswerFormat;
}

/** What `archive.session` is asked for. */
export interface SessionRequest extends AnswerOptions {
  readonly camera: string;
  readonly start: Time;
  readonly end?: Time;
  /** Seconds, instead of `end`. */
  readonly duration?: number | string;
}

export const SESSION_KEYS: KeysOf<SessionRequest> = {
  ...{ camera: true, start: true, end: true, duration: true, gaps: true, changes: true },
  ...{ part: true, begin: true, tracks: true, keyframes: true, speed: true, format: true },
};

const CHOICES = {
  gaps: ['collapse', 'freeze', 'error'],
  changes: ['error', 'split', 'drop-audio'],
  begin: ['exact', 'keyframe', 'next'],
  tracks: ['all', 'video', 'audio'],
  format: ['mp4', 'fmp4'],
} as const;

type AnswerPolicy = Omit<PlanRequest, 'camera' | 'startUtcMs' | 'endUtcMs' | 'beginUtcMs'>;

/** Options that do not go together, and what to do about it. */
const CLASHES: readonly { readonly of: (options: AnswerOptions) => boolean; readonly text: string }[] = [
  {
    of: ({ part, changes }) => part !== undefined && changes !== 'split',
    text: '"part" goes with changes=split only: add that, or leave "part" out.',
  },
  {
    of: ({ speed, keyframes }) => speed !== undefined && keyframes !== true,
    text: '"speed" goes with keyframes=1 only, for no other pictures are shown faster: add that, or leave "speed" out.',
  },
  {
    of: ({ keyframes, tracks }) => keyframes === true && tracks === 'audio',
    text: '"keyframes" are pictures, and tracks=audio has none: leave one of them out.',
  },
  {
    of: ({ keyframes, gaps }) => keyframes === true && gaps === 'freeze',
    text: 'A time-lapse (keyframes=1) is not held over a gap: leave gaps=freeze out.',
  },
  {
    of: ({ changes, tracks }) => changes === 'drop-audio' && tracks === 'audio',
    text: 'changes=drop-audio leaves nothing of tracks=audio: leave one of them out.',
  },
];

/**
 * The options with their defaults.
 * @throws RangeError, TypeError for a value that is none; FootageError E_QUERY for options that do not go together
 */
export function answerPolicy(options: AnswerOptions): AnswerPolicy {
  const { gaps = 'collapse', changes = 'error', part = 1, begin = 'exact' } = options;
  const { keyframes = false, speed = 1, format = 'mp4' } = options;
  const tracks: TrackChoice = options.tracks ?? 'all';
  const policy: AnswerPolicy = { gaps, changes, part, begin, tracks, keyframes, speed, format };
  for (const [name, allowed] of Object.entries(CHOICES)) {
    const value = policy[name as keyof typeof CHOICES];
    if (!allowed.some((one) => one === value))
      throw new RangeError(`${name} is one of ${allowed.join(', ')}, not ${value}`);
  }
  if (!Number.isSafeInteger(part) || part < 1) throw new RangeError(`part is a number from 1, not ${part}`);
  if (typeof keyframes !== 'boolean') throw new TypeError('keyframes is true or false');
  if (!(speed > 0 && speed < Infinity)) throw new RangeError(`speed is a positive number, not ${speed}`);
  for (const { of: clash, text } of CLASHES) if (clash(options)) throw new FootageError('E_QUERY', text);
  return policy;
}
