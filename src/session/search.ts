/** Index of the last of `count` ascending values that is not above `value`; 0 where all are. */
export function lastAtOrBelow(count: number, at: (i: number) => number, value: number): number {
  let low = 0;
  for (let high = count; high - low > 1;) {
    const middle = (low + high) >>> 1;
    if (at(middle) <= value) low = middle;
    else high = middle;
  }
  return low;
}
