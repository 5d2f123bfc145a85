/** What a plan is asked for. */

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

export interface PlanRequest {
  readonly camera: string;
  /** Unix ms; end exclusive. */
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly gaps: GapPolicy;
  readonly changes: ChangePolicy;
  /** Which piece, from 1, where `changes` is `split`. */
  readonly part: number;
  readonly begin: BeginPolicy;
  readonly tracks: TrackChoice;
  /** Sync samples of the video alone, `speed` times as fast. */
  readonly keyframes: boolean;
  readonly speed: number;
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
}

const CHOICES = {
  gaps: ['collapse', 'freeze', 'error'],
  changes: ['error', 'split', 'drop-audio'],
  begin: ['exact', 'keyframe', 'next'],
  tracks: ['all', 'video', 'audio'],
} as const;

type AnswerPolicy = Omit<PlanRequest, 'camera' | 'startUtcMs' | 'endUtcMs'>;

/** The options with their defaults. @throws RangeError, TypeError */
export function answerPolicy(options: AnswerOptions): AnswerPolicy {
  const { gaps = 'collapse', changes = 'error', part = 1, begin = 'exact' } = options;
  const { keyframes = false, speed = 1 } = options;
  const tracks: TrackChoice = options.tracks ?? 'all';
  const policy: AnswerPolicy = { gaps, changes, part, begin, tracks, keyframes, speed };
  for (const [name, allowed] of Object.entries(CHOICES)) {
    const value = policy[name as keyof typeof CHOICES];
    if (!allowed.some((one) => one === value)) throw new RangeError(`${name} is one of ${allowed.join(', ')}, not ${value}`);
  }
  if (!Number.isSafeInteger(part) || part < 1) throw new RangeError(`part is a number from 1, not ${part}`);
  if (typeof keyframes !== 'boolean') throw new TypeError('keyframes is true or false');
  if (!(speed > 0 && speed < Infinity)) throw new RangeError(`speed is a positive number, not ${speed}`);
  if (keyframes && tracks === 'audio') throw new RangeError('keyframes are those of the video: leave tracks out');
  if (speed !== 1 && !keyframes) throw new RangeError('speed needs keyframes: only they are shown faster');
  return policy;
}
