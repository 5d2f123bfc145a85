/** Fields that are not whole bytes: reads bits of a bit stream header, most significant first. */
import { damaged } from './box.ts';

/** Bits, most significant first; reading behind the end is E_INPUT_FORMAT. */
export class BitCursor {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #bit = 0;

  /** `what` names the bytes in messages. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  /** The next `count` (at most 32) bits as an unsigned number. */
  read(count: number): number {
    if (this.#bit + count > this.#bytes.length * 8) throw damaged(`${this.#what} is too short`);
    let value = 0;
    for (let i = 0; i < count; i++, this.#bit++) {
      value = value * 2 + (((this.#bytes[this.#bit >> 3] ?? 0) >> (7 - (this.#bit & 7))) & 1);
    }
    return value;
  }

  /** The next bit as a flag. */
  flag(): boolean {
    return this.read(1) === 1;
  }
}
