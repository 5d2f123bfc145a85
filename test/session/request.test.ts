/** The options of an answer: their defaults, what is no value, and what does not go together. */
import { describe, expect, test } from 'vitest';
import { type AnswerOptions, answerPolicy } from '../../src/session/request.ts';

test('what is not given has its default', () => {
  const policy = {
    gaps: 'collapse',
    changes: 'error',
    part: 1,
    begin: 'exact',
    tracks: 'all',
    keyframes: false,
    speed: 1,
  };
  expect(answerPolicy({})).toMatchObject(policy);
  const given: AnswerOptions = { changes: 'split', part: 2, keyframes: true, speed: 0.5, tracks: 'video' };
  expect(answerPolicy(given)).toMatchObject({ ...policy, ...given });
});

/** A mistake in a program. */
test.each<[object, typeof RangeError | typeof TypeError]>([
  [{ gaps: 'perhaps' }, RangeError],
  [{ changes: 'join' }, RangeError],
  [{ begin: 'late' }, RangeError],
  [{ tracks: 'subtitles' }, RangeError],
  [{ changes: 'split', part: 0 }, RangeError],
  [{ changes: 'split', part: 1.5 }, RangeError],
  [{ keyframes: 1 }, TypeError],
  [{ keyframes: true, speed: 0 }, RangeError],
  [{ keyframes: true, speed: Infinity }, RangeError],
  [{ keyframes: true, speed: Number.NaN }, RangeError],
])('%o is no value', (options, kind) => {
  expect(() => answerPolicy(options)).toThrow(kind);
});

/** A wish that cannot be granted: whoever asks is told, by code and status. */
describe('not together, with what to do', () => {
  test.each<[AnswerOptions, string]>([
    [{ part: 1 }, 'add that, or leave "part" out'],
    [{ part: 2, changes: 'drop-audio' }, 'changes=split only'],
    [{ speed: 8 }, 'add that, or leave "speed" out'],
    [{ speed: 1, keyframes: false }, 'keyframes=1 only'],
    [{ keyframes: true, tracks: 'audio' }, 'leave one of them out'],
    [{ keyframes: true, gaps: 'freeze' }, 'leave gaps=freeze out'],
    [{ changes: 'drop-audio', tracks: 'audio' }, 'leave one of them out'],
  ])('%o', (options, text) => {
    const refused = () => answerPolicy(options);
    expect(refused).toThrow(expect.objectContaining({ code: 'E_QUERY', httpStatus: 400, exitStatus: 2 }));
    expect(refused).toThrow(text);
  });
});
