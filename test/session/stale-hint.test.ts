/**
 * The stale-notification race at the level of a session, on the real senders: a session at the soft barrier is woken by a
 * notification that was queued before the last piece was. Nothing may be sent on it. scripts/mutation.mjs takes the
 * re-check out of a copy of the sources and shows that these tests fail then.
 */
import { describe, expect, test } from 'vitest';
import type { Native, RawSenderOptions } from '../../src/native-types.ts';
import { loadAddon } from '../../src/native.ts';
import type { Piece, Sender, SenderState } from '../../src/sender/sender.ts';
import type { RateLimiter } from '../../src/session/rate.ts';
import { sendRange } from '../../src/session/send.ts';
import { VirtualFile } from '../../src/session/virtual-file.ts';
import { digest, makeFile, receive, stalled, until, WAYS } from '../sender/rig.ts';

const SOFT = 1 << 20;
const HARD = 256 << 20;
/** More than the sockets of the loopback hold: queued behind whatever there is, it blocks the sender again. */
const filler = makeFile(16 << 20);
const footage = makeFile(24 << 20);
const head = Buffer.alloc(5000, 'h');
const unlimited: RateLimiter = { pieceBytes: 2 << 20, spend: () => 0 };

const virtualFile = new VirtualFile(
  [
    { kind: 'bytes', data: head },
    { kind: 'file', path: footage.name, offset: 0, length: footage.data.length },
  ],
  '"x"',
  0,
);

const isBlocked = (state: SenderState) => state === 'softLimit' || state === 'hardLimit';

/** Passes everything on to a real sender, and notes in which state it was when the session sent. */
abstract class Watched implements Sender {
  readonly kind: Sender['kind'];
  protected readonly inner: Sender;
  /** Pieces that the session sent while the sender was at its soft barrier: on a stale hint. */
  sentWhileBlocked = 0;
  /** Stale hints that the session was given. */
  staleHints = 0;
  readonly taken: Uint8Array[] = [];

  constructor(inner: Sender) {
    this.inner = inner;
    this.kind = inner.kind;
  }

  enqueue(piece: Piece): SenderState {
    if (isBlocked(this.inner.state())) this.sentWhileBlocked++;
    return this.pass(piece);
  }

  protected pass(piece: Piece): SenderState {
    const { data } = footage;
    this.taken.push(piece.kind === 'bytes' ? piece.data : data.subarray(piece.offset, piece.offset + piece.length));
    return this.inner.enqueue(piece);
  }

  abstract hint(): Promise<void>;
  state = () => this.inner.state();
  fill = () => this.inner.fill();
  sent = () => this.inner.sent();
  drained = () => this.inner.drained();
  error = () => this.inner.error();
  close = () => this.inner.close();
}

/**
 * Somebody else waits for the same notification, is told first, and fills the queue again: by the time the session hears
 * of it, it is older than the last piece.
 */
class FilledAgain extends Watched {
  readonly #times = 4;

  hint(): Promise<void> {
    void this.inner.hint().then(() => {
      if (this.staleHints === this.#times || isBlocked(this.inner.state())) return;
      const file = filler.open();
      const state = this.inner.enqueue({ kind: 'file', file, offset: 0, length: filler.data.length });
      file.release();
      this.taken.push(filler.data);
      if (isBlocked(state)) this.staleHints++;
    });
    return this.inner.hint();
  }
}

/** The client has everything that was queued, in order: the session's bytes and those that were put between them. */
async function checkBytes(client: Parameters<typeof receive>[0], sending: Promise<void>, watched: Watched) {
  const received = receive(client, Infinity);
  await sending;
  watched.close();
  client.end();
  expect(digest(await received)).toBe(digest(...watched.taken));
}

describe.each(WAYS)('a session on the %s sender', (_kind, native) => {
  test('sends nothing on a hint that is older than the last piece', async () => {
    await using rig = await stalled(native, { softBarrier: SOFT, hardBarrier: HARD });
    const watched = new FilledAgain(rig.sender);
    const range = { start: 0, end: virtualFile.length };
    const sending = sendRange(virtualFile, range, { sender: watched, limiter: unlimited });
    sending.catch(() => undefined);
    await until('the session is blocked', () => isBlocked(rig.sender.state()));
    await checkBytes(rig.client, sending, watched);
    expect(watched.staleHints).toBe(4);
    expect(watched.sentWhileBlocked, 'pieces sent on a stale hint').toBe(0);
  });
});

/** A notification of the addon is queued on the loop before each piece, and comes when that has filled the queue. */
class ToldBefore extends Watched {
  readonly #notify: () => void;

  constructor(inner: Sender, notify: () => void) {
    super(inner);
    this.#notify = notify;
  }

  protected override pass(piece: Piece): SenderState {
    setImmediate(() => {
      if (isBlocked(this.inner.state())) this.staleHints++;
      this.#notify();
    });
    return super.pass(piece);
  }

  hint = () => this.inner.hint();
}

/** The addon, and the way in which it notifies the sender made last. */
function notifying(addon: Native): { readonly native: Native; readonly notify: () => void } {
  let onHint: (() => void) | undefined;
  const { createSender } = addon;
  if (createSender === undefined) throw new Error('not the addon');
  const create = (fd: number, options: RawSenderOptions) => {
    ({ onHint } = options);
    return createSender(fd, options);
  };
  return { native: { ...addon, createSender: create }, notify: () => onHint?.() };
}

test('a session on the native sender sends nothing when the addon notifies of what was before the last piece', async () => {
  const { native, notify } = notifying(loadAddon());
  await using rig = await stalled(native, { softBarrier: SOFT, hardBarrier: HARD });
  const watched = new ToldBefore(rig.sender, notify);
  const range = { start: 0, end: virtualFile.length };
  const sending = sendRange(virtualFile, range, { sender: watched, limiter: unlimited });
  sending.catch(() => undefined);
  await until('a stale notification', () => watched.staleHints > 0);
  expect(watched.sentWhileBlocked, 'pieces sent on a stale hint').toBe(0);
  await checkBytes(rig.client, sending, watched);
  expect(watched.sentWhileBlocked, 'pieces sent on a stale hint').toBe(0);
});
