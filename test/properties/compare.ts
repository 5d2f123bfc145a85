/** Holds an answer, read back, against what the model says of it. */
import { expect } from 'vitest';
import type { ExpectedAnswer, ExpectedSample, ExpectedTrack } from './model.ts';
import { readMovie, type ReadMovie, type ReadTrack } from './mp4.ts';

/** A frame of silent mono AAC-LC: one empty channel, and the end (ISO/IEC 14496-3 4.4.2.1). */
const SILENCE = Buffer.of(0, 0, 0, 7);

export function expectAnswer(file: Buffer, expected: ExpectedAnswer): ReadMovie {
  const movie = readMovie(file);
  expect(movie.timescale).toBe(expected.timescale);
  expect(movie.tracks.map(({ kind, timescale }) => ({ kind, timescale }))).toEqual(
    expected.tracks.map(({ kind, timescale }) => ({ kind, timescale })),
  );
  movie.tracks.forEach((track, i) => {
    const wanted = expected.tracks[i];
    if (wanted !== undefined) expectTrack(movie, track, wanted);
  });
  return movie;
}

/** A sample as one line, so that a difference is read at a glance. */
type Row = readonly [payload: string, delta: number, presentedAt: number, sync: boolean];

function expectTrack(movie: ReadMovie, track: ReadTrack, expected: ExpectedTrack): void {
  const rows = track.samples.map(({ data, delta, dts, compositionOffset, sync }): Row => {
    return [nameOf(data), delta, dts + compositionOffset, sync];
  });
  const wanted = expected.samples.map((sample, i): Row => {
    const { at, compositionOffset, sync } = sample;
    const next = expected.samples[i + 1];
    const delta = next === undefined ? expected.lastDelta : next.at - at;
    return [nameOf(bytesOf(sample)), delta, at + compositionOffset, sync];
  });
  // Media time of the answer's first instant, as the samples tell it: the same for all of them.
  const origin = (rows[0]?.[2] ?? 0) - (wanted[0]?.[2] ?? 0);
  expect(rows).toEqual(wanted.map(([name, delta, at, sync]) => [name, delta, at + origin, sync]));
  expectPayloads(track, expected);
  expectEdits(movie, track, expected, origin);
}

/** The bytes that tell payloads apart. */
const nameOf = (payload: Buffer) => payload.toString('hex').slice(0, 40);

const bytesOf = ({ prefix, payload }: ExpectedSample) =>
  prefix === undefined ? (payload ?? SILENCE) : Buffer.concat([prefix, payload ?? SILENCE]);

function expectPayloads({ samples }: ReadTrack, expected: ExpectedTrack): void {
  const wrong = samples.findIndex(({ data }, i) => {
    const wanted = expected.samples[i];
    return wanted === undefined || !data.equals(bytesOf(wanted));
  });
  expect(wrong, 'the first sample with other bytes').toBe(-1);
}

/** At most an empty edit and one that shows the media; both are whole ticks of the movie, so sound may be off by one. */
function expectEdits({ timescale }: ReadMovie, track: ReadTrack, expected: ExpectedTrack, origin: number): void {
  const { edits } = track;
  const empty = edits.length === 2 ? edits[0] : undefined;
  const shown = edits.at(-1);
  expect(edits.length).toBe(empty === undefined ? 1 : 2);
  expect(empty?.mediaTime ?? -1).toBe(-1);
  const toMovie = timescale / track.timescale;
  const waited = (empty?.duration ?? 0) / toMovie;
  const shift = (shown?.mediaTime ?? 0) - waited - origin;
  expect(Math.abs(shift), 'ticks by which the track is presented late').toBeLessThanOrEqual(1 + 0.5 / toMovie);
  if (track.kind === 'video') expect(shift).toBe(0);
  const end = (empty?.duration ?? 0) + (shown?.duration ?? 0);
  expect(waited).toBeGreaterThanOrEqual(expected.from - 0.5 / toMovie - 1e-6);
  expect(Math.abs(end - expected.to * toMovie), 'ticks by which the end is off').toBeLessThan(1.5 + 1e-6);
}
