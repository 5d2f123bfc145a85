/**
 * Every operation in every state of a connection, for both senders: what it gives, and that whatever it gives, the client
 * has exactly the bytes that were taken, in order, and no file stays open.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { systemCode } from '../../src/errors.ts';
import type { Native } from '../../src/native-types.ts';
import type { Piece, Sender, SharedFile } from '../../src/sender/sender.ts';
import { makeFile, type Stalled, stalled, until, WAYS } from './rig.ts';

const SOFT = 2 << 20;
const HARD = 4 << 20;
const PIECE = 64 << 10;
const file = makeFile(2 << 20);

// ---- The table

type Operation =
  | 'enqueue bytes'
  | 'enqueue file'
  | 'enqueue nothing'
  | 'state'
  | 'fill'
  | 'sent'
  | 'hint'
  | 'drained'
  | 'error'
  | 'close'
  | 'close twice'
  | 'destroy the socket'
  | 'client resets';

type State = 'open' | 'overloaded' | 'blocked' | 'refused' | 'draining' | 'closing' | 'closed' | 'gone' | 'failed';

/** With bytes outstanding the connection is lost with its sender. */
const LOSES = {
  close: 'closed by E_SENDER, connection destroyed',
  'close twice': 'closed by E_SENDER, connection destroyed',
  'destroy the socket': 'closed by E_CLIENT_GONE, connection destroyed',
  'client resets': 'closed by E_CLIENT_GONE, connection destroyed',
} as const;

/** Nothing changes a sender that has closed for a reason. */
const closedBy = (code: string) => ({
  'enqueue bytes': 'closed, not taken',
  'enqueue file': 'closed, not taken',
  'enqueue nothing': 'closed, not taken',
  state: 'closed',
  fill: 'nothing',
  sent: 'some',
  hint: 'at once',
  drained: `rejects with ${code}`,
  error: code,
  close: `closed by ${code}, connection destroyed`,
  'close twice': `closed by ${code}, connection destroyed`,
  'destroy the socket': `closed by ${code}, connection destroyed`,
  'client resets': `closed by ${code}, connection destroyed`,
});

const TABLE: Readonly<Record<State, Readonly<Record<Operation, string>>>> = {
  open: {
    'enqueue bytes': 'ready, taken',
    'enqueue file': 'ready, taken',
    'enqueue nothing': 'ready, taken',
    state: 'ready',
    fill: 'nothing',
    sent: 'nothing',
    hint: 'waits',
    drained: 'at once',
    error: 'none',
    close: 'closed, connection kept',
    'close twice': 'closed, connection kept',
    'destroy the socket': 'closed by E_CLIENT_GONE, connection destroyed',
    'client resets': 'closed by E_CLIENT_GONE, connection destroyed',
  },
  overloaded: {
    'enqueue bytes': 'overloaded, taken',
    'enqueue file': 'overloaded, taken',
    'enqueue nothing': 'overloaded, taken',
    state: 'overloaded',
    fill: 'something',
    sent: 'some',
    hint: 'waits',
    drained: 'waits',
    error: 'none',
    ...LOSES,
  },
  draining: {
    'enqueue bytes': 'overloaded, taken',
    'enqueue file': 'overloaded, taken',
    'enqueue nothing': 'overloaded, taken',
    state: 'overloaded',
    fill: 'something',
    sent: 'some',
    hint: 'waits',
    drained: 'waits',
    error: 'none',
    ...LOSES,
  },
  blocked: {
    'enqueue bytes': 'softLimit, taken',
    'enqueue file': 'softLimit, taken',
    'enqueue nothing': 'softLimit, taken',
    state: 'softLimit',
    fill: 'the soft barrier or more',
    sent: 'some',
    hint: 'waits',
    drained: 'waits',
    error: 'none',
    ...LOSES,
  },
  refused: {
    'enqueue bytes': 'hardLimit, not taken',
    'enqueue file': 'hardLimit, not taken',
    'enqueue nothing': 'hardLimit, not taken',
    state: 'hardLimit',
    fill: 'the hard barrier or more',
    sent: 'some',
    hint: 'waits',
    drained: 'waits',
    error: 'none',
    ...LOSES,
  },
  closing: closedBy('E_SENDER'),
  gone: closedBy('E_CLIENT_GONE'),
  failed: closedBy('E_SENDER'),
  closed: {
    'enqueue bytes': 'closed, not taken',
    'enqueue file': 'closed, not taken',
    'enqueue nothing': 'closed, not taken',
    state: 'closed',
    fill: 'nothing',
    sent: 'all',
    hint: 'at once',
    drained: 'at once',
    error: 'none',
    close: 'closed, connection kept',
    'close twice': 'closed, connection kept',
    'destroy the socket': 'closed, connection destroyed',
    'client resets': 'closed, connection destroyed',
  },
};

// ---- The states

/** A sender in some state, with everything that it took on the way. */
class Subject implements AsyncDisposable {
  readonly sender: Sender;
  readonly socket: Socket;
  readonly client: Socket;
  readonly taken: Buffer[] = [];
  /** Users of the shared file besides the test. */
  users = 0;
  readonly #rig: Stalled;
  readonly #file: SharedFile = file.open();

  constructor(rig: Stalled) {
    ({ sender: this.sender, socket: this.socket, client: this.client } = rig);
    this.#rig = rig;
  }

  get takenBytes(): number {
    return this.taken.reduce((sum, { length }) => sum + length, 0);
  }

  get shared(): SharedFile {
    return { fd: this.#file.fd, retain: () => void this.users++, release: () => void this.users-- };
  }

  /** Of each piece other bytes: a doubled or a lost one shows. */
  piece(kind: Piece['kind'], length = PIECE): { piece: Piece; data: Buffer } {
    const offset = (this.taken.length * 4099) % (file.data.length - PIECE);
    const data = file.data.subarray(offset, offset + length);
    return { data, piece: kind === 'bytes' ? { kind, data } : { kind, file: this.shared, offset, length } };
  }

  enqueue(kind: Piece['kind'], length = PIECE): string {
    const { piece, data } = this.piece(kind, length);
    const state = this.sender.enqueue(piece);
    const refused = state === 'hardLimit' || state === 'closed';
    if (!refused) this.taken.push(data);
    return `${state}, ${refused ? 'not taken' : 'taken'}`;
  }

  /** Fills the sockets, then the sender's own queue. */
  async fillUp(state: 'overloaded' | 'softLimit' | 'hardLimit'): Promise<void> {
    // Bytes alone: while a sender reads a file nobody can tell whether its socket is full.
    while (this.sender.state() !== 'overloaded') {
      this.enqueue('bytes');
      for (let turns = 0; turns < 10; turns++) await turn();
    }
    while (this.sender.state() !== state) this.enqueue(this.taken.length % 3 === 0 ? 'file' : 'bytes');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#rig[Symbol.asyncDispose]();
    this.#file.release();
  }
}

/** The client reads nothing; bytes beyond what the sockets hold are in the sender's own queue. */
async function overload(subject: Subject): Promise<void> {
  await subject.fillUp('overloaded');
  subject.enqueue('bytes');
}

const ARRANGE: Readonly<Record<State, (subject: Subject) => Promise<void>>> = {
  open: async () => undefined,
  overloaded: overload,
  draining: async (subject) => {
    await overload(subject);
    subject.sender.drained().catch(() => undefined);
  },
  blocked: (subject) => subject.fillUp('softLimit'),
  refused: (subject) => subject.fillUp('hardLimit'),
  // Its socket is being destroyed, and has not said so yet.
  closing: async (subject) => {
    await subject.fillUp('softLimit');
    subject.sender.close();
  },
  closed: async (subject) => {
    subject.enqueue('bytes');
    await subject.sender.drained();
    subject.sender.close();
  },
  gone: async (subject) => {
    await subject.fillUp('softLimit');
    subject.client.resetAndDestroy();
    await until('closed', () => subject.sender.state() === 'closed');
  },
  failed: async (subject) => {
    const { shared } = subject;
    subject.sender.enqueue({ kind: 'file', file: shared, offset: file.data.length - 1000, length: 2000 });
    subject.taken.push(file.data.subarray(-1000), Buffer.alloc(1000));
    await until('closed', () => subject.sender.state() === 'closed');
  },
};

async function arrange(native: Native, state: State): Promise<Subject> {
  const subject = new Subject(await stalled(native, { softBarrier: SOFT, hardBarrier: HARD }));
  await ARRANGE[state](subject);
  return subject;
}

// ---- The operations

/** Whether `promise` has settled within some turns of the loop, and how. */
async function settlement(promise: Promise<void>): Promise<string> {
  let result = 'waits';
  promise.then(
    () => (result = 'at once'),
    (error: unknown) => (result = `rejects with ${systemCode(error)}`),
  );
  for (let turns = 0; turns < 20; turns++) await turn();
  return result;
}

function fillOf({ sender }: Subject): string {
  const fill = sender.fill();
  if (fill === 0) return 'nothing';
  if (sender.state() === 'hardLimit' && fill >= HARD) return 'the hard barrier or more';
  return sender.state() === 'softLimit' && fill >= SOFT ? 'the soft barrier or more' : 'something';
}

function sentOf({ sender, takenBytes }: Subject): string {
  const sent = sender.sent();
  if (sent === 0) return 'nothing';
  return sent === takenBytes ? 'all' : 'some';
}

function endOf({ sender, socket }: Subject): string {
  const error = sender.error();
  const by = error === undefined ? '' : ` by ${systemCode(error)}`;
  return `${sender.state()}${by}, connection ${socket.destroyed ? 'destroyed' : 'kept'}`;
}

const PERFORM: Readonly<Record<Operation, (subject: Subject) => string | Promise<string>>> = {
  'enqueue bytes': (subject) => subject.enqueue('bytes'),
  'enqueue file': (subject) => subject.enqueue('file'),
  'enqueue nothing': (subject) => subject.enqueue('bytes', 0),
  state: ({ sender }) => sender.state(),
  fill: fillOf,
  sent: sentOf,
  hint: ({ sender }) => settlement(sender.hint()),
  drained: ({ sender }) => settlement(sender.drained()),
  error: ({ sender }) => systemCode(sender.error()) ?? 'none',
  close: (subject) => {
    subject.sender.close();
    return endOf(subject);
  },
  'close twice': (subject) => {
    subject.sender.close();
    subject.sender.close();
    return endOf(subject);
  },
  'destroy the socket': async (subject) => {
    subject.socket.destroy();
    await until('closed', () => subject.socket.closed && subject.sender.state() === 'closed');
    return endOf(subject);
  },
  'client resets': async (subject) => {
    subject.client.resetAndDestroy();
    await until('closed', () => subject.socket.closed && subject.sender.state() === 'closed');
    return endOf(subject);
  },
};

/** What the client has when `length` bytes are there, or its connection has ended. */
async function collect(client: Socket, length: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let got = 0;
  client.on('data', (chunk: Buffer) => {
    chunks.push(chunk);
    got += chunk.length;
  });
  client.resume();
  await until('all bytes have come, or the end', () => got >= length || client.closed);
  client.pause();
  return Buffer.concat(chunks);
}

/** The client reads again: it gets what was taken, all of it where the connection lives, and a hint comes. */
async function checkBytes({ sender, client, socket, taken, takenBytes }: Subject): Promise<void> {
  const expected = Buffer.concat(taken);
  const [before, hint] = [sender.state(), sender.hint()];
  const received = await collect(client, socket.destroyed ? Infinity : takenBytes);
  if (socket.destroyed) {
    expect(received.equals(expected.subarray(0, received.length))).toBe(true);
    return;
  }
  expect(received.equals(expected)).toBe(true);
  if (sender.state() === 'closed') return;
  if (before !== 'ready') await hint;
  await sender.drained();
  expect([sender.state(), sender.sent()]).toEqual(['ready', takenBytes]);
}

const CELLS = Object.entries(TABLE).flatMap(([state, row]) =>
  Object.entries(row).map(([operation, result]) => [state as State, operation as Operation, result] as const),
);

describe.each(WAYS)('the %s sender', (_kind, native) => {
  test.each(CELLS)('%s: %s → %s', async (state, operation, result) => {
    await using subject = await arrange(native, state);
    expect(await PERFORM[operation](subject)).toBe(result);
    await checkBytes(subject);
    subject.sender.close();
    await until('no file is held', () => subject.users === 0);
  });
});
