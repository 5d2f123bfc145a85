/**
 * The native sender: `sendfile` on a duplicate of the connection's socket, past Node's stream.
 *
 * Invariants:
 * 1. Node has nothing to write on the socket while pieces are queued here (`senderFor` sees to it at the start; an
 *    answer that is ended too early loses its connection).
 * 2. When Node's socket is closed, so is the sender: a duplicate would go on sending for ever.
 * 3. With bytes outstanding the connection never survives the sender, since the answer is truncated.
 */
import type { Socket } from 'node:net';
import type { EventEmitter } from 'node:events';
import { QUEUED, SENDER_STATES, type Native, type RawSender, type SenderState } from '../native-types.ts';
import { clientGone, clientIdle, closedEarly, endedEarly, failureOfErrno } from './failures.ts';
import { ProgressWatch } from './progress-watch.ts';
import type { Piece, Sender, SenderOptions } from './sender.ts';
import { Waiters } from './waiters.ts';

/** Longest time between two looks at a client's progress. */
const WATCH_PERIOD_MS = 15_000;

export interface NativeTarget {
  readonly socket: Socket;
  /** Descriptor of `socket`. */
  readonly fd: number;
  /** The answer that is sent on the socket, if it is one of HTTP. */
  readonly response?: EventEmitter;
}

type CreateSender = NonNullable<Native['createSender']>;

export class NativeSender implements Sender {
  readonly kind = 'native';
  readonly #raw: RawSender;
  readonly #target: NativeTarget;
  readonly #idleTimeoutMs: number;
  readonly #waiters = new Waiters();
  readonly #watch: ProgressWatch;
  #phase: 'open' | 'closed' = 'open';
  #error: Error | undefined;

  constructor(create: CreateSender, target: NativeTarget, options: Required<SenderOptions>) {
    this.#target = target;
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.#raw = create(target.fd, { ...options, onHint: this.#onHint });
    this.#watch = new ProgressWatch({
      idleTimeoutMs: options.idleTimeoutMs,
      taken: () => this.#raw.sent() - this.#inKernel(),
      isWaiting: () => this.#raw.queued() > 0,
      periodMs: () => watchPeriodMs(target.socket),
      onProgress: this.#refreshSocketTimeout,
      onIdle: this.#onIdle,
    });
    target.socket.once('close', this.#onSocketClose);
    // First of all listeners: Node's own would hand the socket to the next answer.
    target.response?.prependOnceListener('finish', this.#onResponseFinish);
  }

  enqueue(piece: Piece): SenderState {
    if (this.#phase === 'closed') return 'closed';
    const told =
      piece.kind === 'bytes'
        ? this.#raw.enqueueBytes(piece.data)
        : this.#raw.enqueueFile(piece.file.fd, piece.offset, piece.length);
    const state = nameOf(told & ~QUEUED);
    // A piece that fits into the socket brings no hint.
    this.#refreshSocketTimeout();
    if (state === 'closed') this.#observe();
    else if (told >= QUEUED) this.#watch.start();
    return state;
  }

  state(): SenderState {
    return this.#phase === 'closed' ? 'closed' : nameOf(this.#raw.state());
  }

  fill(): number {
    return this.#phase === 'closed' ? 0 : this.#raw.fill();
  }

  sent(): number {
    return this.#raw.sent();
  }

  hint(): Promise<void> {
    return this.#phase === 'closed' ? Promise.resolve() : this.#waiters.hint();
  }

  drained(): Promise<void> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#phase === 'closed' || this.#raw.queued() === 0) return Promise.resolve();
    return this.#waiters.drained();
  }

  error(): Error | undefined {
    return this.#error;
  }

  close(): void {
    if (this.#phase === 'closed') return;
    if (this.#raw.queued() > 0) this.#fail(closedEarly());
    else this.#release(false);
  }

  readonly #onHint = (): void => {
    this.#refreshSocketTimeout();
    this.#observe();
    this.#waiters.notify();
  };

  readonly #onIdle = (): void => {
    this.#fail(clientIdle(this.#idleTimeoutMs));
  };

  readonly #onSocketClose = (): void => {
    this.#fail(clientGone());
  };

  readonly #onResponseFinish = (): void => {
    if (this.#raw.queued() > 0) this.#fail(endedEarly());
    else this.#release(false);
  };

  /** Node sees no activity on the socket while the duplicate sends, and would time it out. */
  readonly #refreshSocketTimeout = (): void => {
    const { socket } = this.#target;
    if (socket.timeout !== undefined && socket.timeout > 0) socket.setTimeout(socket.timeout);
  };

  #inKernel(): number {
    return this.#raw.fill() - this.#raw.queued();
  }

  /** Draws the conclusions from what the raw sender has become. */
  #observe(): void {
    const errno = this.#raw.error();
    if (errno !== 0) {
      this.#fail(failureOfErrno(errno));
    } else if (this.#raw.queued() === 0) {
      this.#watch.stop();
      this.#waiters.settleDrained();
    } else {
      this.#watch.start();
    }
  }

  #fail(error: Error): void {
    if (this.#phase === 'closed') return;
    this.#error = error;
    this.#release(true);
    this.#target.socket.destroy();
  }

  #release(abort: boolean): void {
    this.#phase = 'closed';
    this.#watch.stop();
    this.#target.socket.off('close', this.#onSocketClose);
    this.#target.response?.off('finish', this.#onResponseFinish);
    this.#raw.close(abort);
    // Without an error everything was handed over, though the hint that says so may still be on its way.
    if (this.#error === undefined) this.#waiters.settleDrained();
    else this.#waiters.failDrained(this.#error);
    this.#waiters.notify();
  }
}

function nameOf(state: number): SenderState {
  const name = SENDER_STATES[state];
  if (name === undefined) throw new RangeError(`the addon reported a sender state that does not exist: ${state}`);
  return name;
}

/** Often enough to refresh the timeout of Node's socket before it runs out. */
function watchPeriodMs(socket: Socket): number {
  return socket.timeout !== undefined && socket.timeout > 0
    ? Math.min(WATCH_PERIOD_MS, socket.timeout / 4)
    : WATCH_PERIOD_MS;
}
