/**
 * Edit lists of one presentation (ISO/IEC 14496-12 8.6.6): all tracks begin at one instant; a track that begins later
 * gets a leading empty edit. Never more than these: players ignore further edits.
 */
import type { Edit } from './movie.ts';

export interface EditInput {
  readonly timescale: number;
  readonly movieTimescale: number;
  /** Media time (composition) of the presentation's first instant, in ticks; may lie before the first sample. */
  readonly origin: number;
  /** Media time (composition) at which the track's first picture or sound begins, in ticks. */
  readonly first: number;
  /** Media time at which the track's presentation ends, in ticks. */
  readonly end: number;
}

export function editsOf({ timescale, movieTimescale, origin, first, end }: EditInput): Edit[] {
  const toMovie = (ticks: number) => Math.ceil((ticks * movieTimescale) / timescale - 1e-6);
  if (first <= origin) return [{ duration: toMovie(end - origin), mediaTime: origin }];
  const wait = Math.round(((first - origin) * movieTimescale) / timescale);
  const edit = { duration: toMovie(end - first), mediaTime: first };
  return wait === 0 ? [edit] : [{ duration: wait, mediaTime: -1 }, edit];
}
