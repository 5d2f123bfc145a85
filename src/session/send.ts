/**
 * Pass 2: the slices of a range into a sender, at the pace of the sender and of the limiter.
 *
 * Order of limits: after a piece was sent, a state at or above the soft barrier waits for the sender's hint; else the
 * limiter decides and a timer waits. A hint may be stale (queued before the last piece was): whoever wakes on one asks
 * the sender for its real state before anything is sent.
 */
import { FootageError, ioError } from '../errors.ts';
import type { Piece, Sender, SenderState, SharedFile } from '../sender/sender.ts';
import { openShared } from '../sender/shared-file.ts';
import type { RateLimiter } from './rate.ts';
import type { ByteRange, StoredSlice, VirtualFile } from './virtual-file.ts';

export interface SendRangeOptions {
  readonly sender: Sender;
  readonly limiter: RateLimiter;
  readonly signal?: AbortSignal | undefined;
  /** Called after each piece. */
  readonly onPiece?: () => void;
}

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
  { sender, limiter, onPiece }: SendRangeOptions,
  source: CurrentFile,
): Promise<void> {
  let delayMs = 0;
  for await (const slice of file.slices(range)) {
    for await (const piece of piecesOf(slice, limiter.pieceBytes, source)) {
      await pause(delayMs, sender);
      await sendPiece(sender, piece);
      onPiece?.();
      delayMs = limiter.spend(piece.kind === 'bytes' ? piece.data.byteLength : piece.length, performance.now());
    }
  }
}

/** Enqueues one piece and waits until the sender is below its soft barrier again. */
async function sendPiece(sender: Sender, piece: Piece): Promise<void> {
  let state = sender.enqueue(piece);
  while (state === 'hardLimit') {
    await belowSoftBarrier(sender);
    state = sender.enqueue(piece);
  }
  if (state === 'closed') throw gone(sender);
  if (state === 'softLimit') await belowSoftBarrier(sender);
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

/** Longest time of a timer of Node, ms: a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Waits for the limiter's time; a connection that closes meanwhile ends the wait. */
async function pause(ms: number, sender: Sender): Promise<void> {
  for (let leftMs = ms; leftMs > 0; leftMs -= MAX_TIMER_MS) await pauseOnce(Math.min(leftMs, MAX_TIMER_MS), sender);
}

async function pauseOnce(ms: number, sender: Sender): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const elapsed = new Promise<'elapsed'>((resolve) => {
    timer = setTimeout(resolve, ms, 'elapsed');
  });
  try {
    // Hints of a sender that works come here as well: they are not what is waited for.
    while ((await Promise.race([elapsed, sender.hint()])) !== 'elapsed') {
      if (sender.state() === 'closed') throw gone(sender);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* piecesOf(
  slice: StoredSlice,
  pieceBytes: number,
  source: CurrentFile,
): AsyncGenerator<Piece, void, undefined> {
  if (slice.kind === 'bytes') {
    for (let at = 0; at < slice.data.byteLength; at += pieceBytes) {
      yield { kind: 'bytes', data: slice.data.subarray(at, at + pieceBytes) };
    }
    return;
  }
  const file = await source.open(slice.path);
  for (let at = 0; at < slice.length; at += pieceBytes) {
    const length = Math.min(pieceBytes, slice.length - at);
    yield { kind: 'file', file, offset: slice.offset + at, length };
  }
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
