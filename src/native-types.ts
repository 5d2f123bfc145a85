/**
 * The contract of the native addon. The C++ addon and the pure-TypeScript twin (`src/twin/`) both implement it, and
 * one contract suite runs against both. Nothing here knows of HTTP, cameras, MP4 or policy.
 */

/** Bytes of one frame delimiter; see docs/format.md. */
export const DELIMITER_BYTES = 32;

/** What a scan looks for and how. All positions are byte offsets in the file. */
export interface ScanRequest {
  readonly fd: number;
  /** Where a delimiter is expected. */
  readonly from: number;
  /** End of the area to scan: nothing at or behind it is read. */
  readonly to: number;
  /** CRC32C of the segment's UUID; seeds every header CRC. */
  readonly seed: number;
  /** Also check the CRC32C of every payload (reads everything); otherwise payloads are hopped over. */
  readonly verify: boolean;
  /**
   * After damage, search on byte by byte (a hit needs header and payload CRC); otherwise stop there. With this or `verify`
   * bytes that the disk cannot read (EIO) are damage; otherwise they reject the scan.
   */
  readonly resync: boolean;
  /** At most this many records; then `stop` is `limit` and the scan can be taken up again at `next`. */
  readonly limit: number;
  /** Set element 0 to non-zero (Atomics.store) to cancel: the scan rejects with an AbortError. */
  readonly cancel?: Int32Array;
}

export interface ScanResult {
  /**
   * The records found, one behind the other: 32 bytes of delimiter each, then for `group` its table (4 + 8·count
   * bytes), for `frame`, `void` and unknown types nothing, for all other types the whole payload.
   */
  readonly records: Uint8Array;
  /** File offset of each record's delimiter, in order. */
  readonly offsets: Float64Array;
  /** Where the scan stopped: the offset at which the next delimiter is expected. */
  readonly next: number;
  /** `end`: reached `to`. `limit`: more may follow. `damage`: no valid record at `next` (never with `resync`). */
  readonly stop: 'end' | 'limit' | 'damage';
  /** With `resync`: pairs [from, to) of bytes that belong to no valid record, ascending. */
  readonly damaged: Float64Array;
}

/** A sender's state as numbers, ordered: `state >= 2` means stop. Names in `SENDER_STATES`. */
export const SENDER_STATES = ['ready', 'overloaded', 'softLimit', 'hardLimit', 'closed'] as const;
export type SenderState = (typeof SENDER_STATES)[number];
/** Added to the state that an enqueue returns while bytes are queued, so that nobody has to ask for that. */
export const QUEUED = 8;

export interface RawSenderOptions {
  /** Bytes in the own queue from which the state is `softLimit`. */
  readonly softBarrier: number;
  /** Bytes in the own queue from which an enqueue is refused with `hardLimit`. */
  readonly hardBarrier: number;
  /** Called on the loop, without arguments, when something may have changed. Approximate: ask `state()`. */
  readonly onHint: () => void;
}

/** Sends bytes and file ranges into a connected stream socket whose descriptor it duplicates. Loop thread only. */
export interface RawSender {
  /** Queues bytes (kept by reference until sent), sends what the kernel takes; index into SENDER_STATES, plus QUEUED. */
  enqueueBytes(data: Uint8Array): number;
  /** Sends a range of a file; of what is queued `fd` is duplicated, so the caller may close its own at once. */
  enqueueFile(fd: number, offset: number, length: number): number;
  /** State now; index into SENDER_STATES. */
  state(): number;
  /** Bytes in the own queue plus bytes in the kernel's send queue (SIOCOUTQ), now. */
  fill(): number;
  /** Bytes not yet taken by the kernel. */
  queued(): number;
  /** Bytes taken by the kernel since the sender was made. */
  sent(): number;
  /** errno (positive) that closed the sender, 0 if none. A file that ended too early is EIO. */
  error(): number;
  /**
   * Drops the queue and releases the descriptor; with `abort` the connection is shut down both ways as well
   * (a transfer in flight ends with EPIPE). Idempotent. `onHint` is not called afterwards.
   */
  close(abort: boolean): void;
}

/** Sends of this thread on the pool: of files that are not in memory, and of much at once. */
export interface SendPoolState {
  /** Jobs begun. */
  readonly jobs: number;
  readonly running: number;
  /** Senders that wait for a thread, or for their disk's turn, now. */
  readonly waiting: number;
  /** Such waits that have ended, and how long they were in all, ms. */
  readonly waits: number;
  readonly waitMs: number;
}

export interface Native {
  /** `addon`: C++ with sendfile. `twin`: pure TypeScript. */
  readonly kind: 'addon' | 'twin';
  /** CRC32C (Castagnoli, RFC 3720 B.4) of `data`, continuing from `crc` (0 to begin). Unsigned 32 bits. */
  readonly crc32c: (data: Uint8Array, crc?: number) => number;
  /** Finds frame delimiters by positioned reads on the thread pool. */
  scan(request: ScanRequest): Promise<ScanResult>;
  /** Starts write-back on all files, then fdatasyncs each. Per file: 0, or errno (positive). */
  groupFlush(fds: Int32Array): Promise<Int32Array>;
  /** Makes a sender on a duplicate of `fd`; undefined in the twin, where the stream sender does the work. */
  readonly createSender: ((fd: number, options: RawSenderOptions) => RawSender) | undefined;
  /** Undefined in the twin, whose senders have no jobs. */
  readonly sendPool: (() => SendPoolState) | undefined;
}
