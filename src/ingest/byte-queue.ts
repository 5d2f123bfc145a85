/** Bytes that come in pieces and are taken in other pieces: what lies in one piece is handed on without a copy. */
export class ByteQueue {
  #pieces: Uint8Array[] = [];
  /** Where the first piece goes on. */
  #start = 0;
  #bytes = 0;

  push(piece: Uint8Array): void {
    if (piece.byteLength === 0) return;
    this.#pieces.push(piece);
    this.#bytes += piece.byteLength;
  }

  /** The next bytes, at most `count`; they stay. */
  peek(count: number): Uint8Array {
    const wanted = Math.min(count, this.#bytes);
    const [first] = this.#pieces;
    if (first === undefined) return new Uint8Array(0);
    if (first.byteLength - this.#start >= wanted) return first.subarray(this.#start, this.#start + wanted);
    return this.#copy(wanted);
  }

  /** The next `count` bytes, or undefined while there are fewer. */
  take(count: number): Uint8Array | undefined {
    if (count > this.#bytes) return undefined;
    const taken = this.peek(count);
    this.#drop(count);
    return taken;
  }

  #copy(count: number): Uint8Array {
    const copy = new Uint8Array(count);
    let filled = 0;
    let from = this.#start;
    for (const piece of this.#pieces) {
      const part = piece.subarray(from, from + count - filled);
      copy.set(part, filled);
      filled += part.byteLength;
      from = 0;
      if (filled === count) break;
    }
    return copy;
  }

  #drop(count: number): void {
    this.#bytes -= count;
    let end = this.#start + count;
    let gone = 0;
    for (const piece of this.#pieces) {
      if (end < piece.byteLength) break;
      end -= piece.byteLength;
      gone++;
    }
    this.#pieces.splice(0, gone);
    this.#start = end;
  }
}
