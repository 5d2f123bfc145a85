/**
 * The stream sender: writes into any Node Writable (TLS, HTTP/2, chunked answers, files), and everything where there
 * is no addon. Files are read in chunks.
 *
 * Invariants:
 * 1. At most one chunk is written beyond the stream's high-water mark: after a `write` that returned false nothing is
 *    written before `drain`.
 * 2. A file is retained from its enqueue until its last byte was read or the piece is dropped; a read in flight keeps it.
 * 3. With pieces outstanding the stream never survives the sender, since the answer is truncated.
 * 4. The idle timeout holds until the stream has passed on the last byte of ours, though the sender may be closed before.
 */
import { read } from 'node:fs';
import type { EventEmitter } from 'node:events';
import type { SenderState } from '../native-types.ts';
import { clientGone, clientIdle, closedEarly, endedEarly, failureOfCause, fileEnded } from './failures.ts';
import { ProgressWatch } from './progress-watch.ts';
import type { Piece, Sender, SenderOptions, SharedFile } from './sender.ts';
import { Waiters } from './waiters.ts';

const CHUNK_BYTES = 256 << 10;
const WATCH_PERIOD_MS = 5000;

/** What the sender needs of a stream; `Writable`, `ServerResponse` and `Http2Stream` have it. */
export interface StreamTarget extends EventEmitter {
  write(chunk: Uint8Array, callback: (error?: Error | null) => void): boolean;
  uncork(): void;
  destroy(error?: Error): unknown;
  readonly destroyed: boolean;
  readonly writableEnded: boolean;
  readonly writableFinished: boolean;
  readonly writableLength: number;
  readonly writableNeedDrain: boolean;
  readonly writableCorked: number;
  /** HTTP/2 only: the code of the stream's reset, which ends the stream before it destroys it. */
  readonly rstCode?: number | undefined;
}

/** A piece in the queue; its front moves forward as it is sent. */
type Pending =
  | { readonly kind: 'bytes'; data: Uint8Array }
  | { readonly kind: 'file'; readonly file: SharedFile; offset: number; length: number };

/** `idle`: nothing to do. `reading`: a file. `draining`: the stream is full. */
type Phase = 'idle' | 'reading' | 'draining' | 'closed';

export class StreamSender implements Sender {
  readonly kind = 'stream';
  readonly #target: StreamTarget;
  readonly #options: Required<SenderOptions>;
  readonly #waiters = new Waiters();
  readonly #watch: ProgressWatch;
  #queue: Pending[] = [];
  #ownBytes = 0;
  #sent = 0;
  /** Writes that the stream has not called back for. */
  #writing = 0;
  #onLastWritten: () => void = ignore;
  #phase: Phase;
  #error: Error | undefined;

  constructor(target: StreamTarget, options: Required<SenderOptions>) {
    this.#target = target;
    this.#options = options;
    this.#phase = target.writableNeedDrain ? 'draining' : 'idle';
    this.#watch = new ProgressWatch({
      idleTimeoutMs: options.idleTimeoutMs,
      taken: () => this.#sent - target.writableLength,
      isWaiting: () => this.#phase === 'draining' || target.writableLength > 0,
      periodMs: () => WATCH_PERIOD_MS,
      onProgress: () => this.#waiters.notify(),
      onIdle: this.#onIdle,
    });
    if (this.#phase === 'draining') this.#watch.start();
    target.on('drain', this.#onDrain);
    target.on('error', this.#onError);
    target.on('close', this.#onClose);
  }

  enqueue(piece: Piece): SenderState {
    if (this.#phase === 'closed') return 'closed';
    if (this.fill() >= this.#options.hardBarrier) return 'hardLimit';
    this.#push(piece);
    this.#pump();
    const state = this.state();
    return state === 'hardLimit' ? 'softLimit' : state;
  }

  state(): SenderState {
    if (this.#phase === 'closed') return 'closed';
    const fill = this.fill();
    if (fill >= this.#options.hardBarrier) return 'hardLimit';
    if (fill >= this.#options.softBarrier) return 'softLimit';
    return this.#phase === 'draining' ? 'overloaded' : 'ready';
  }

  /** Own queue and the stream's; what the kernel holds cannot be known here. */
  fill(): number {
    return this.#phase === 'closed' ? 0 : this.#ownBytes + this.#target.writableLength;
  }

  sent(): number {
    return this.#sent;
  }

  hint(): Promise<void> {
    return this.#phase === 'closed' ? Promise.resolve() : this.#waiters.hint();
  }

  drained(): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    return this.#ownBytes === 0 ? Promise.resolve() : this.#waiters.drained();
  }

  error(): Error | undefined {
    return this.#error;
  }

  close(): void {
    if (this.#phase === 'closed') return;
    if (this.#ownBytes > 0) this.#fail(closedEarly());
    else this.#release();
  }

  #push(piece: Piece): void {
    if (piece.kind === 'bytes') {
      if (piece.data.length === 0) return;
      this.#queue.push({ kind: 'bytes', data: piece.data });
      this.#ownBytes += piece.data.length;
    } else {
      if (piece.length === 0) return;
      piece.file.retain();
      this.#queue.push({ kind: 'file', file: piece.file, offset: piece.offset, length: piece.length });
      this.#ownBytes += piece.length;
    }
  }

  readonly #onIdle = (): void => {
    if (this.#phase === 'closed') this.#target.destroy();
    else this.#fail(clientIdle(this.#options.idleTimeoutMs));
  };

  #pump(): void {
    while (this.#phase === 'idle') {
      const head = this.#queue[0];
      if (head === undefined) return;
      if (head.kind === 'bytes') this.#sendBytes(head);
      else this.#readFile(head);
    }
  }

  #sendBytes(head: Extract<Pending, { kind: 'bytes' }>): void {
    const chunk = head.data.subarray(0, CHUNK_BYTES);
    head.data = head.data.subarray(chunk.length);
    if (head.data.length === 0) this.#queue.shift();
    this.#write(chunk);
  }

  #readFile(head: Extract<Pending, { kind: 'file' }>): void {
    this.#phase = 'reading';
    const buffer = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, head.length));
    head.file.retain();
    read(head.file.fd, buffer, 0, buffer.length, head.offset, (error, bytesRead) => {
      head.file.release();
      if (this.#phase !== 'reading') return;
      this.#phase = 'idle';
      if (error !== null) this.#fail(failureOfCause(error));
      else if (bytesRead === 0) this.#fail(fileEnded());
      else this.#sendRead(head, buffer.subarray(0, bytesRead));
    });
  }

  #sendRead(head: Extract<Pending, { kind: 'file' }>, chunk: Uint8Array): void {
    head.offset += chunk.length;
    head.length -= chunk.length;
    if (head.length === 0) {
      this.#queue.shift();
      head.file.release();
    }
    this.#write(chunk);
    this.#pump();
    this.#settle();
  }

  #write(chunk: Uint8Array): void {
    if (this.#target.destroyed || this.#target.writableEnded) {
      this.#fail(this.#whyEnded());
      return;
    }
    this.#ownBytes -= chunk.length;
    this.#sent += chunk.length;
    this.#writing++;
    try {
      if (this.#target.write(chunk, this.#onWritten)) return;
    } catch (error) {
      this.#fail(failureOfCause(error));
      return;
    }
    // A corked stream holds everything back and would never drain.
    while (this.#target.writableCorked > 0) this.#target.uncork();
    if (this.#phase !== 'closed') this.#phase = 'draining';
    this.#watch.start();
  }

  /** Tells those who wait what has come true. */
  #settle(): void {
    if (this.#phase === 'closed') return;
    if (this.#ownBytes === 0) this.#waiters.settleDrained();
    if (this.fill() < this.#options.softBarrier) this.#waiters.notify();
  }

  readonly #onWritten = (error?: Error | null): void => {
    this.#writing--;
    if (error !== null && error !== undefined) this.#fail(failureOfCause(error));
    else if (this.#phase !== 'closed') this.#settle();
    else if (this.#writing === 0) this.#onLastWritten();
  };

  readonly #onDrain = (): void => {
    if (this.#phase !== 'draining') return;
    this.#phase = 'idle';
    this.#pump();
    this.#settle();
  };

  readonly #onError = (error: Error): void => {
    this.#fail(failureOfCause(error));
  };

  readonly #onClose = (): void => {
    if (this.#ownBytes === 0 && this.#target.writableFinished) this.#release();
    else this.#fail(this.#whyEnded());
  };

  /** The stream takes no more, though there is more: either its owner has ended it, or the client is gone. */
  #whyEnded(): Error {
    const { writableEnded, rstCode = 0 } = this.#target;
    return writableEnded && rstCode === 0 && this.#ownBytes > 0 ? endedEarly() : clientGone();
  }

  #fail(error: Error): void {
    if (this.#phase === 'closed') return;
    this.#error = error;
    this.#release();
    this.#target.destroy();
  }

  #release(): void {
    this.#phase = 'closed';
    this.#watchRest();
    this.#target.off('drain', this.#onDrain);
    this.#target.off('close', this.#onClose);
    this.#target.off('error', this.#onError);
    for (const piece of this.#queue) if (piece.kind === 'file') piece.file.release();
    this.#queue = [];
    this.#ownBytes = 0;
    if (this.#error !== undefined) {
      // The stream may still report what ended it; it is known here already.
      this.#target.on('error', ignore);
      this.#waiters.failDrained(this.#error);
    }
    this.#waiters.notify();
  }

  /** What the stream holds must leave too: a client that never takes it would keep its connection for ever. */
  #watchRest(): void {
    const target = this.#target;
    if (this.#error !== undefined || target.destroyed || target.writableLength === 0) return this.#watch.stop();
    this.#watch.start();
    const stop = (): void => {
      this.#watch.stop();
      target.off('finish', stop);
      target.off('close', stop);
    };
    this.#onLastWritten = stop;
    target.on('finish', stop);
    target.on('close', stop);
  }
}

function ignore(): void {}
