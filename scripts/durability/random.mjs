/** Numbers that follow from a seed: the same run can be made again. */

const MULTIPLIER = 1_664_525;
const INCREMENT = 1_013_904_223;

/** Gives numbers in [0, 1), the same ones for the same seed. */
export function randomFrom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (Math.imul(state, MULTIPLIER) + INCREMENT) >>> 0;
    return state / 2 ** 32;
  };
  // The first numbers of neighbouring seeds are alike.
  for (let i = 0; i < 5; i++) next();
  return next;
}
