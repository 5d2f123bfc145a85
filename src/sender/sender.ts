/**
 * The Sender contract (pass 2, the last step before the socket). A sender takes slices, sends at once what the kernel
 * takes, and every enqueue returns its state at the moment the piece was queued. It knows nothing of segments or MP4.
 *
 * Notifications are hints: one may have been queued before the last piece of data was. Whoever wakes on a hint asks
 * `state()` before it sends.
 */
import type { SenderState } from '../native-types.ts';

export type { SenderState };

/** An open file with several users: the descriptor is closed when the last one released it. */
export interface SharedFile {
  readonly fd: number;
  retain(): void;
  release(): void;
}

/** What can be sent: bytes in memory, or a range of an open file. */
export type Piece =
  | { readonly kind: 'bytes'; readonly data: Uint8Array }
  | { readonly kind: 'file'; readonly file: SharedFile; readonly offset: number; readonly length: number };

export interface SenderOptions {
  /** Bytes in the own queue from which `softLimit` is reported. Default 128 MiB: ranges of files cost no memory. */
  readonly softBarrier?: number;
  /** Bytes in the own queue from which pieces are refused. Default 512 MiB. */
  readonly hardBarrier?: number;
  /** A client that takes no byte for this long is gone (E_CLIENT_GONE). Default 60 000 ms; 0 = never. */
  readonly idleTimeoutMs?: number;
}

export interface Sender {
  /** `native`: sendfile on a duplicate of the socket. `stream`: writes into a Node Writable. */
  readonly kind: 'native' | 'stream';
  /**
   * Queues a piece and sends what can be sent now. Returns the state right after; `hardLimit` and `closed` mean
   * that this piece was not taken. The sender keeps what it needs of the file: the caller may release it at once.
   */
  enqueue(piece: Piece): SenderState;
  /** The real state, now. */
  state(): SenderState;
  /** Bytes queued here plus bytes in the kernel's send queue (0 for the latter where it cannot be known); 0 once closed. */
  fill(): number;
  /** Bytes handed to the kernel (native) or taken by the stream, so far. */
  sent(): number;
  /** Resolves at the next notification, or at once when the sender is closed. A hint, no promise of room. */
  hint(): Promise<void>;
  /** Resolves when everything queued was handed over; rejects (E_CLIENT_GONE, E_SENDER) when the sender closed first. */
  drained(): Promise<void>;
  /** Why the sender is closed, once it is. */
  error(): Error | undefined;
  /**
   * Ends the sender's hold on the connection. With everything drained the connection stays usable (keep-alive);
   * with bytes outstanding the connection is destroyed, since the answer is truncated. Idempotent.
   */
  close(): void;
}
