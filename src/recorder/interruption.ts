/**
 * When the disk fails under a recording: which failures a recording outlives, when it tries again, and the segments that
 * it had to leave, until recovery can seal them.
 */
import { dirname } from 'node:path';
import { type ErrorCode, FootageError, ioError } from '../errors.ts';
import { isThere, syncPath } from '../segment/disk.ts';
import { type RecoverOptions, recoverSegment } from '../segment/recover.ts';
import type { Trailer } from '../format/trailer.ts';
import type { Ledger, SegmentAccount } from './ledger.ts';

/** Footage that was lost, or could not be taken, because the disk failed. */
export interface RecordingGap {
  readonly startUtcMs: number;
  readonly endUtcMs: number;
  readonly cause: ErrorCode;
  /** Frames per track. */
  readonly lost: readonly number[];
}

/** From the failure of the disk to the next segment. */
export interface Interruption {
  readonly cause: FootageError;
  readonly startUtcMs: number;
  /** Frames lost before, per track. */
  readonly lostBefore: readonly number[];
}

/** Failures of the disk: they may end, and then recording goes on. */
const DISK_FAULTS: ReadonlySet<ErrorCode> = new Set(['E_DISK_FULL', 'E_FLUSH', 'E_IO', 'E_READ_ONLY']);

export function isDiskFault(error: unknown): error is FootageError {
  return error instanceof FootageError && DISK_FAULTS.has(error.code);
}

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 10_000;

/** When to try again: after a second, and ever later while what was tried does not last. Times of performance.now(). */
export class Backoff {
  #waitMs = 0;
  #notBeforeMs = 0;
  #succeededMs = -Infinity;

  failed(nowMs: number): void {
    // What lasted longer than the longest wait was a success: the next failure is a new one.
    const lasted = nowMs - this.#succeededMs > LONGEST_WAIT_MS && this.#succeededMs > this.#notBeforeMs;
    this.#waitMs = this.#waitMs === 0 || lasted ? FIRST_WAIT_MS : Math.min(LONGEST_WAIT_MS, 2 * this.#waitMs);
    this.#notBeforeMs = nowMs + this.#waitMs;
  }

  succeeded(nowMs: number): void {
    this.#succeededMs = nowMs;
  }

  isDue(nowMs: number): boolean {
    return nowMs >= this.#notBeforeMs;
  }
}

/** A segment as its disk's failure left it. */
export interface LeftSegment {
  readonly id: string;
  readonly path: string;
  readonly account: SegmentAccount;
  /** After a failed sync: where the bytes begin that no sync has confirmed. */
  readonly rewriteFrom: number | undefined;
  readonly cause: FootageError;
}

export interface LeftSegmentsDeps extends RecoverOptions {
  /** Folder of the archive. */
  readonly archive: string;
  readonly sink: {
    sealed(segment: { readonly path: string; readonly trailer: Trailer }): void;
    removed(id: string): void;
  };
}

export class LeftSegments {
  readonly #deps: LeftSegmentsDeps;
  readonly #ledger: Ledger;
  #left: LeftSegment[] = [];
  #backoff = new Backoff();
  #recovering: Promise<void> | undefined;

  constructor(deps: LeftSegmentsDeps, ledger: Ledger) {
    this.#deps = deps;
    this.#ledger = ledger;
  }

  add(segment: LeftSegment): void {
    this.#left.push(segment);
    this.#backoff.failed(performance.now());
  }

  /** What keeps the first of them from being sealed. */
  get cause(): FootageError | undefined {
    return this.#left[0]?.cause;
  }

  /** As `recover`, unless there are none, or they have been tried only lately. */
  recoverIfDue(nowMs: number): Promise<void> | undefined {
    if (this.#left.length === 0 || this.#recovering !== undefined || !this.#backoff.isDue(nowMs)) return undefined;
    return this.recover();
  }

  /** Seals those that can be sealed now; the others stay. One call at a time does the work. */
  recover(): Promise<void> {
    this.#recovering ??= this.#recover().finally(() => {
      this.#recovering = undefined;
    });
    return this.#recovering;
  }

  async #recover(): Promise<void> {
    const still: LeftSegment[] = [];
    for (const segment of this.#left.splice(0)) {
      const cause = await this.#recoverOne(segment).catch((error: unknown) => ioError(error, 'recovering a segment'));
      if (cause !== undefined) still.push({ ...segment, cause });
    }
    this.#left = [...still, ...this.#left];
    if (still.length > 0) this.#backoff.failed(performance.now());
    else this.#backoff = new Backoff();
  }

  /** Undefined when there is nothing left to do. */
  async #recoverOne({ id, path, account, rewriteFrom }: LeftSegment): Promise<FootageError | undefined> {
    if (!(await isThere(this.#deps.disk, path))) return this.#gone(id, account);
    const options = rewriteFrom === undefined ? this.#deps : { ...this.#deps, rewriteFrom };
    const recovery = await recoverSegment(path, options);
    if (recovery.outcome === 'failed') return recovery.error;
    if (recovery.outcome !== 'sealed') return this.#gone(id, account);
    const { trailer } = recovery;
    // What the recorder has promised of its names may have failed with the rest.
    await syncPath(this.#deps.disk, dirname(path), this.#deps.archive);
    this.#deps.sink.sealed({ path, trailer });
    this.#ledger.settle(
      account,
      trailer.tracks.map(({ samples }) => samples),
    );
    return undefined;
  }

  #gone(id: string, account: SegmentAccount): undefined {
    this.#deps.sink.removed(id);
    this.#ledger.settle(account, []);
    return undefined;
  }
}
