/** Options of the library: a key that it does not know is a mistake of the caller's, and not passed over. */

/** Every key of T: the compiler keeps the list complete. */
export type KeysOf<T> = Readonly<Record<keyof T, true>>;

/** @throws TypeError for a key that is not among the known ones */
export function checkKeys(options: object, known: Readonly<Record<string, true>>, of: string): void {
  for (const key of Object.keys(options)) {
    if (Object.hasOwn(known, key)) continue;
    throw new TypeError(`${of} has no option "${key}"; it has ${Object.keys(known).join(', ')}`);
  }
}
