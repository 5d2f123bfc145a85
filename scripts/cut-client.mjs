/**
 * The client's side of scripts/cut-sessions.mjs: a connection that asks for its sessions, compares every byte, and is cut at
 * the moment that its plan names.
 *
 * A connection has `sessions` (each with its `range`, and once it has begun with `abort` and `destroy`), the ends of those
 * that have `begun`, a `cut` and its `moment`; `pipelined` asks for all at once, `slow` waits after each read.
 */
import net from 'node:net';

/** Reads the answers of a connection and compares each byte with what it must be. */
class Reader {
  bodyBytes = 0;
  whole = 0;
  #expected;
  #ranges;
  #head = '';
  #at = -1;

  constructor(expected, ranges) {
    this.#expected = expected;
    this.#ranges = ranges;
  }

  take(chunk) {
    for (let rest = chunk; rest.length > 0;) rest = this.#at < 0 ? this.#takeHead(rest) : this.#takeBody(rest);
  }

  #takeHead(chunk) {
    const before = this.#head.length;
    this.#head += chunk.toString('latin1');
    const end = this.#head.indexOf('\r\n\r\n');
    if (end < 0) return Buffer.alloc(0);
    const { start, end: last } = this.#ranges[this.whole] ?? { start: 0, end: 0 };
    if (!this.#head.startsWith('HTTP/1.1 206 ') || !this.#head.includes(`Content-Length: ${last - start}\r\n`))
      throw new Error(`not the head of answer ${this.whole}: ${JSON.stringify(this.#head.slice(0, end))}`);
    this.#head = '';
    this.#at = start;
    return chunk.subarray(end + 4 - before);
  }

  #takeBody(chunk) {
    const range = this.#ranges[this.whole];
    const body = chunk.subarray(0, range.end - this.#at);
    if (this.#expected.compare(body, 0, body.length, this.#at, this.#at + body.length) !== 0)
      throw new Error(`wrong bytes in answer ${this.whole}, somewhere in ${this.#at}..${this.#at + body.length}`);
    this.#at += body.length;
    this.bodyBytes += body.length;
    if (this.#at === range.end) {
      this.whole++;
      this.#at = -1;
    }
    return chunk.subarray(body.length);
  }
}

const CUTTERS = {
  none: () => undefined,
  reset: ({ socket }) => socket.resetAndDestroy(),
  leave: ({ socket }) => socket.destroy(),
  'half-close': ({ socket }) => socket.end(),
  abort: ({ connection }) => connection.sessions.forEach(({ abort }) => abort?.()),
  destroy: ({ connection }) => connection.sessions.forEach(({ destroy }) => destroy?.()),
  // Reads on once the server has given up (or was through before), to see its end.
  stall: ({ socket, connection }) => {
    connection.stalled = true;
    socket.pause();
    void settledOf(connection).then(() => {
      connection.stalled = false;
      socket.resume();
    });
  },
};

/** All sessions that have begun are at their end; with a client that is gone or reads nothing, no more begin. */
async function settledOf({ begun }) {
  for (let seen = -1; seen !== begun.length;) {
    seen = begun.length;
    await Promise.all(begun);
  }
}

const requestOf = ({ number }, i) => `GET /${number}/${i} HTTP/1.1\r\nHost: x\r\n\r\n`;

/** Cuts the connection once, at the first of its moments. */
class Cutter {
  #connection;
  #socket;
  #timers = [];
  #done = false;

  constructor(connection, socket) {
    this.#connection = connection;
    this.#socket = socket;
    this.#after(connection.moment.connectedMs);
    connection.onLastBegun = () => this.#after(connection.moment.begunMs);
  }

  #after(ms) {
    if (ms < Infinity) this.#timers.push(setTimeout(() => this.#cut(), ms));
  }

  received(bytes) {
    if (bytes >= this.#connection.moment.bytes) this.#cut();
  }

  #cut() {
    if (this.#done) return;
    this.#done = true;
    CUTTERS[this.#connection.cut]({ socket: this.#socket, connection: this.#connection });
  }

  /**
   * All has come, so nothing is left to be cut, and the client ends the connection. Not the server: what a connection holds
   * that its server has closed, the kernel gives up when it runs short of memory.
   */
  end() {
    // Node cannot do both.
    const isReset = this.#done && this.#connection.cut === 'reset';
    if (!isReset) this.#socket.end();
    this.stop();
  }

  stop() {
    this.#done = true;
    for (const timer of this.#timers) clearTimeout(timer);
  }
}

/** Asks for the sessions, the next when the one before has come, or all at once. */
class Asker {
  #connection;
  #socket;
  #asked = 0;

  constructor(connection, socket) {
    this.#connection = connection;
    this.#socket = socket;
  }

  ask(answersHere) {
    const { sessions, pipelined } = this.#connection;
    const end = pipelined ? sessions.length : Math.min(answersHere + 1, sessions.length);
    while (this.#asked < end) {
      this.#socket.write(requestOf(this.#connection, this.#asked++));
    }
  }
}

/** Lets a slow client wait after each read. */
function slowDown(socket, connection) {
  socket.pause();
  setTimeout(() => void (connection.stalled || socket.resume()), 1);
}

/** Runs a connection to its end; gives the reader, which says how far it came. @throws for wrong bytes */
export async function converse(connection, port, expected) {
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  const ranges = connection.sessions.map(({ range }) => range);
  const reader = new Reader(expected, ranges);
  const cutter = new Cutter(connection, socket);
  const asker = new Asker(connection, socket);
  const ended = new Promise((resolve, reject) => {
    socket.on('error', () => undefined); // of resets; what came before them counts
    socket.on('close', resolve);
    socket.on('end', () => socket.end());
    socket.on('connect', () => asker.ask(0));
    socket.on('data', (chunk) => {
      try {
        reader.take(chunk);
      } catch (error) {
        reject(error);
        socket.destroy();
        return;
      }
      asker.ask(reader.whole);
      if (connection.slow) slowDown(socket, connection);
      cutter.received(reader.bodyBytes);
      if (reader.whole === ranges.length) cutter.end();
    });
  });
  await ended.finally(() => cutter.stop());
  await settledOf(connection);
  return reader;
}
