/** What must hold of a result. Not vitest's `expect`, which is slow: targets check millions of values. */
export function expectThat(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}
