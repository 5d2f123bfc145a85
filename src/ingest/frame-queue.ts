/**
 * Frames on their way from who has them to who takes them, one taker. What waits is counted in bytes, so that whoever
 * pushes can hold back; nothing is ever dropped. Loop thread only.
 */
import type { Frame } from '../media.ts';

type End = { readonly error: unknown } | 'ended';

export class FrameQueue<F extends Frame> implements AsyncIterableIterator<F, undefined> {
  /** Undefined where it was taken: what is not waited for is not held. */
  #frames: (F | undefined)[] = [];
  /** Frames in front of it are taken. */
  #next = 0;
  #bytes = 0;
  #end: End | undefined;
  #taker:
    | { readonly resolve: (result: IteratorResult<F, undefined>) => void; readonly reject: (error: unknown) => void }
    | undefined;
  readonly #onTaken: (bytes: number) => void;

  /** `onTaken` is told how many bytes still wait whenever a frame was taken. */
  constructor(onTaken: (bytes: number) => void = () => undefined) {
    this.#onTaken = onTaken;
  }

  /** Bytes of media that wait. */
  get bytes(): number {
    return this.#bytes;
  }

  push(frame: F): void {
    if (this.#end !== undefined) return;
    const taker = this.#taker;
    this.#taker = undefined;
    if (taker !== undefined) {
      taker.resolve({ value: frame, done: false });
      return;
    }
    this.#frames.push(frame);
    this.#bytes += frame.data.byteLength;
  }

  /** No more frames: what waits is still taken. */
  end(): void {
    this.#finish('ended');
  }

  /** As `end`, and then the taker gets the error. */
  fail(error: unknown): void {
    this.#finish({ error });
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    const taker = this.#taker;
    this.#taker = undefined;
    if (taker === undefined) return;
    if (end === 'ended') taker.resolve({ value: undefined, done: true });
    else taker.reject(end.error);
  }

  /** The next frame if one waits. */
  #take(): F | undefined {
    const frame = this.#frames[this.#next];
    if (frame === undefined) return undefined;
    this.#frames[this.#next++] = undefined;
    // Cut off when it is half of them: taking is cheap whatever waits.
    if (this.#next * 2 > this.#frames.length) {
      this.#frames = this.#frames.slice(this.#next);
      this.#next = 0;
    }
    this.#bytes -= frame.data.byteLength;
    this.#onTaken(this.#bytes);
    return frame;
  }

  next(): Promise<IteratorResult<F, undefined>> {
    const frame = this.#take();
    if (frame !== undefined) return Promise.resolve({ value: frame, done: false });
    if (this.#end === 'ended') return Promise.resolve({ value: undefined, done: true });
    if (this.#end !== undefined) return Promise.reject(this.#end.error);
    return new Promise((resolve, reject) => {
      this.#taker = { resolve, reject };
    });
  }

  /** The taker wants no more: what waits is forgotten. */
  return(): Promise<IteratorResult<F, undefined>> {
    this.#frames = [];
    this.#next = 0;
    this.#bytes = 0;
    this.#finish('ended');
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
