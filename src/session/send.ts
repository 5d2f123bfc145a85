/**
 * Pass 2: the slices of a range into a sender, at the pace of the sender and of the limiter.
 *
 * Order of limits: after a piece was sent, a state at or above the soft barrier waits for the sender's hint; else the
 * limiter decides, and the session sleeps. A hint may be stale (queued before the last piece was): whoever wakes on one
 * asks the sender for its real state before anything is sent.
 *
 * Thousands of sessions may be paced at once, so a piece costs no timer, no race and no generator: the pieces of a slice
 * are cut in a plain loop, and sessions sleep on one shared timer (wakeups.ts).
 */
import { FootageError, ioError } from '../errors.ts';
import type { Piece, Sender, SenderState, SharedFile } from '../sender/sender.ts';
import { openShared } from '../sender/shared-file.ts';
import type { RateLimiter } from './rate.ts';
import type { SessionMeter } from './sending-stats.ts';
import { type ByteRange, sliceLength, type StoredSlice, type VirtualFile } from './virtual-file.ts';
import { type Sleeper, Wakeups } from '../wakeups.ts';

export interface SendRangeOptions {
  readonly sender: Sender;
  readonly limiter: RateLimiter;
  readonly signal?: AbortSignal | undefined;
  readonly meter?: SessionMeter;
}

/** One timer for all sessions of this thread. */
const wakeups = new Wakeups({ keepsProcess: true });

/** Sessions that sleep now, of all archives: for tests, which wait for a session to sleep. */
export const sleepingSessions = (): number => wakeups.size;

/**
 * Sends the bytes of `range` and resolves when the sender has handed over all of them. An abort closes the sender.
 * @throws FootageError E_CLIENT_GONE, E_SENDER, E_IO; the signal's reason
 */
export async function sendRange(file: VirtualFile, range: ByteRange, options: SendRangeOptions): Promise<void> {
  const { sender, signal } = options;
  signal?.throwIfAborted();
  const abort = () => sender.close();
  signal?.addEventListener('abort', abort, { once: true });
  const source = new CurrentFile();
  try {
    await sendSlices(file, range, options, source);
    await sender.drained();
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    source.close();
    signal?.removeEventListener('abort', abort);
  }
}

async function sendSlices(
  file: VirtualFile,
  range: ByteRange,
  options: SendRangeOptions,
  source: CurrentFile,
): Promise<void> {
  const { meter } = options;
  const sending = new Sending(options);
  let sinceMs = performance.now();
  for await (const slice of file.slices(range)) {
    const shared = slice.kind === 'file' ? await source.open(slice.path) : undefined;
    meter?.prepared(performance.now() - sinceMs);
    await sending.send(slice, shared);
    sinceMs = performance.now();
  }
}

/** Bytes that are being cut into pieces. */
interface Cut {
  readonly slice: StoredSlice;
  readonly file: SharedFile | undefined;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * The pieces of one session, one after the other. Sleeping or waking makes no promise: `#run` goes on where it stopped.
 * The session's sender closes with it, and that ends every wait.
 */
class Sending implements Sleeper {
  wakeTick: number | undefined;
  readonly #options: SendRangeOptions;
  #cut: Cut | undefined;
  #at = 0;
  /** Until when the limiter makes it wait. */
  #dueMs = -Infinity;
  /** Sleeps, or is being woken. */
  #isAsleep = false;
  #asleepSinceMs = 0;
  #isListening = false;

  constructor(options: SendRangeOptions) {
    this.#options = options;
    this.#oweAt(performance.now());
  }

  /** Sends the bytes of a slice; `file` is open where they are in one. */
  send(slice: StoredSlice, file: SharedFile | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#cut = { slice, file, resolve, reject };
      this.#at = 0;
      this.#goOn();
    });
  }

  #goOn(): void {
    const cut = this.#cut;
    if (cut === undefined) return;
    try {
      if (this.#isAsleep && !this.#getUp()) return;
      if (this.#run(cut) === 'done') cut.resolve();
    } catch (error) {
      cut.reject(error);
    }
  }

  /** Asks what the limiter says by now: sleeps on if it still holds the session up. */
  #getUp(): boolean {
    const { limiter, meter } = this.#options;
    const nowMs = performance.now();
    this.#oweAt(nowMs);
    if (this.#dueMs > nowMs) {
      wakeups.add(this, this.#dueMs, nowMs);
      return false;
    }
    this.#isAsleep = false;
    meter?.stalled(limiter.cause ?? 'policy', nowMs - this.#asleepSinceMs);
    return true;
  }

  /** Waits for what is owed already, by others too. */
  #oweAt(nowMs: number): void {
    this.#dueMs = nowMs + checkedWait(this.#options.limiter.owedMs?.(nowMs) ?? 0);
  }

  /** Until the slice is sent, or something has to be waited for: that goes on by itself then. */
  #run({ slice, file, reject }: Cut): 'done' | 'waiting' {
    const { sender, limiter } = this.#options;
    const length = sliceLength(slice);
    let nowMs = performance.now();
    while (this.#at < length) {
      if (this.#dueMs > nowMs) return this.#sleep(nowMs);
      // Asked for each: a limit that is shared changes with the number of sessions.
      const bytes = Math.min(Math.floor(limiter.pieceBytes), length - this.#at);
      if (!(bytes >= 1)) throw new RangeError(`a limiter allows pieces of 1 byte or more, not ${limiter.pieceBytes}`);
      const piece = pieceOf(slice, file, this.#at, bytes);
      const state = sender.enqueue(piece);
      nowMs = performance.now();
      this.#options.meter?.observe(state, nowMs);
      if (state !== 'ready' && state !== 'overloaded') {
        const queued = this.#heldUp(piece, state, nowMs).then((endMs) => this.#sent(bytes, endMs));
        void queued.then(() => this.#goOn()).catch(reject);
        return 'waiting';
      }
      this.#sent(bytes, nowMs);
    }
    return 'done';
  }

  #sent(bytes: number, nowMs: number): void {
    this.#at += bytes;
    this.#dueMs = nowMs + checkedWait(this.#options.limiter.spend(bytes, nowMs));
  }

  /** After an enqueue that was refused or filled the queue: returns when the piece is queued, and more may be. */
  async #heldUp(piece: Piece, first: SenderState, sinceMs: number): Promise<number> {
    const { sender, meter } = this.#options;
    let state = first;
    while (state === 'hardLimit') {
      await belowSoftBarrier(sender);
      state = sender.enqueue(piece);
    }
    if (state === 'closed') throw gone(sender);
    if (state === 'softLimit') await belowSoftBarrier(sender);
    const nowMs = performance.now();
    meter?.stalled('client', nowMs - sinceMs);
    meter?.observe(sender.state(), nowMs);
    return nowMs;
  }

  /** Until the limiter's time, or the end of the connection. */
  #sleep(nowMs: number): 'waiting' {
    this.#isAsleep = true;
    this.#asleepSinceMs = nowMs;
    wakeups.add(this, this.#dueMs, nowMs);
    if (!this.#isListening) this.#listen();
    return 'waiting';
  }

  wake(): void {
    this.#goOn();
  }

  /** Hears of the sender's end. One hint is waited for at a time, over many sleeps: they must not pile up. */
  #listen(): void {
    this.#isListening = true;
    void this.#options.sender.hint().then(this.#onHint);
  }

  readonly #onHint = (): void => {
    this.#isListening = false;
    if (this.wakeTick === undefined) return;
    const { sender } = this.#options;
    // Hints of a sender that works come here as well: they are not what is waited for.
    if (sender.state() !== 'closed') return this.#listen();
    wakeups.cancel(this);
    this.#cut?.reject(gone(sender));
  };
}

function checkedWait(waitMs: number): number {
  if (!(waitMs >= 0)) throw new RangeError(`a limiter lets wait for 0 ms or more, not ${waitMs}`);
  return waitMs;
}

const isBlocked = (state: SenderState) => state === 'softLimit' || state === 'hardLimit';

async function belowSoftBarrier(sender: Sender): Promise<void> {
  do {
    await sender.hint();
    // The hint is approximate: only the state counts.
  } while (isBlocked(sender.state()));
  if (sender.state() === 'closed') throw gone(sender);
}

function gone(sender: Sender): Error {
  const fallback = 'The client closed the connection before the answer was complete.';
  return sender.error() ?? new FootageError('E_CLIENT_GONE', fallback);
}

/** `length` bytes of a slice, from `at` on. */
function pieceOf(slice: StoredSlice, file: SharedFile | undefined, at: number, length: number): Piece {
  if (slice.kind === 'bytes') return { kind: 'bytes', data: slice.data.subarray(at, at + length) };
  if (file === undefined) throw new RangeError('a slice of a file comes with the file');
  return { kind: 'file', file, offset: slice.offset + at, length };
}

/** The segment file that slices come from now; slices go file by file, so one is open at a time. */
class CurrentFile {
  #path: string | undefined;
  #file: SharedFile | undefined;

  async open(path: string): Promise<SharedFile> {
    if (this.#path === path && this.#file !== undefined) return this.#file;
    this.close();
    this.#file = await openShared(path).catch((error: unknown) => {
      throw ioError(error, `opening ${path} to send it`);
    });
    this.#path = path;
    return this.#file;
  }

  close(): void {
    this.#file?.release();
    this.#file = undefined;
    this.#path = undefined;
  }
}
