/** The kernel's monotonic clock, which all processes of a machine share, in ms. */
export function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6;
}
