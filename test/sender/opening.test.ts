/**
 * A connection that is still opening: an answer that waits for its turn behind another one, or for what Node has still to
 * write. There is no sender yet; what happens meanwhile decides whether there will be one. Nothing is left of the wait.
 */
import { getEventListeners } from 'node:events';
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { systemCode } from '../../src/errors.ts';
import type { Native } from '../../src/native-types.ts';
import { loadAddon } from '../../src/native.ts';
import { senderFor } from '../../src/sender/for-target.ts';
import type { Sender } from '../../src/sender/sender.ts';
import { digest, makeFile, sendFile, serve, stalledClient, until, WAYS } from './rig.ts';

const file = makeFile(3_000_017);
const REQUEST = 'GET / HTTP/1.1\r\nHost: x\r\n\r\n';

/** An answer whose sender is being made. */
interface Opening extends AsyncDisposable {
  readonly res: ServerResponse;
  readonly socket: Socket;
  readonly client: Socket;
  readonly stop: AbortController;
  readonly sender: Promise<Sender>;
  /** What it waits for comes. */
  goOn(): void;
  /** What the client gets in front of the answer's own body, at the least. */
  readonly bytesBefore: number;
  /** What the client has got so far. */
  readonly received: readonly Buffer[];
}

type Arrange = (native: Native) => Promise<Opening>;

async function open(native: Native, requests: number, prepare: (res: ServerResponse) => void) {
  const answers: ServerResponse[] = [];
  const running = await serve((_req, res) => answers.push(res));
  const client = await stalledClient(running.port, REQUEST.repeat(requests));
  const received: Buffer[] = [];
  client.on('data', (chunk: Buffer) => received.push(chunk));
  await until('the requests', () => answers.length === requests);
  const [first, res] = [answers[0] as ServerResponse, answers.at(-1) as ServerResponse];
  const { socket } = res.req;
  prepare(res);
  await turn(); // until then Node holds back what was written
  const stop = new AbortController();
  const sender = senderFor(res, { native, signal: stop.signal, softBarrier: 4 << 20, hardBarrier: 8 << 20 });
  sender.catch(() => undefined);
  const dispose = async () => {
    client.destroy();
    await running[Symbol.asyncDispose]();
  };
  return { first, res, socket, client, received, stop, sender, [Symbol.asyncDispose]: dispose };
}

const waitsForItsTurn: Arrange = async (native) => {
  const opening = await open(native, 2, (res) => res.setHeader('Content-Length', file.data.length));
  return { ...opening, bytesBefore: 0, goOn: () => opening.first.end() };
};

const waitsForNode: Arrange = async (native) => {
  const before = Buffer.alloc(20_000_000, 'b');
  const opening = await open(native, 1, (res) => {
    res.on('error', () => undefined);
    res.setHeader('Content-Length', before.length + file.data.length);
    res.write(before);
  });
  return { ...opening, bytesBefore: before.length, goOn: () => opening.client.resume() };
};

const OPERATIONS: readonly (readonly [string, (opening: Opening) => void, string])[] = [
  ['client resets', ({ client }) => client.resetAndDestroy(), 'E_CLIENT_GONE'],
  ['client leaves', ({ client }) => client.destroy(), 'E_CLIENT_GONE'],
  ['connection destroyed', ({ socket }) => socket.destroy(), 'E_CLIENT_GONE'],
  ['abort', ({ stop }) => stop.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' })), 'ENOUGH'],
  [
    'answer destroyed',
    (opening) => {
      opening.res.destroy();
      opening.goOn();
    },
    'E_CLIENT_GONE',
  ],
  [
    'answer ended',
    (opening) => {
      opening.res.end();
      opening.goOn();
    },
    'E_SENDER',
  ],
];

async function outcome(sender: Promise<Sender>): Promise<string> {
  try {
    return `a ${(await sender).kind} sender`;
  } catch (error) {
    return systemCode(error) ?? String(error);
  }
}

/** The answer, after whatever came before it, byte for byte. */
async function checkAnswer({ client, res, sender, bytesBefore, received }: Opening): Promise<void> {
  const made = await sender;
  const shared = file.open();
  client.resume();
  await sendFile(made, shared, file.data.length);
  shared.release();
  made.close();
  res.socket?.end();
  res.end();
  await until('the end', () => client.closed);
  const bytes = Buffer.concat(received);
  expect(bytes.length).toBeGreaterThan(bytesBefore + file.data.length);
  expect(digest(bytes.subarray(-file.data.length))).toBe(digest(file.data));
}

const CASES = [
  ...WAYS.map(([kind, native]) => ['waits for its turn', kind, native, waitsForItsTurn] as const),
  // The stream sender queues behind what Node has still to write.
  ['waits for Node', 'native', loadAddon(), waitsForNode] as const,
];

describe.each(CASES)('an answer that %s, to become one of the %s sender', (_what, kind, native, arrange) => {
  test('makes no sender by itself', async () => {
    await using opening = await arrange(native);
    let settled = false;
    const done = (): void => void (settled = true);
    opening.sender.then(done, done);
    for (let turns = 0; turns < 20; turns++) await turn();
    expect(settled).toBe(false);
  });

  test('what it waits for comes: a sender, and the right bytes', async () => {
    await using opening = await arrange(native);
    opening.goOn();
    expect(await outcome(opening.sender)).toBe(`a ${kind} sender`);
    await checkAnswer(opening);
  });

  test.each(OPERATIONS)('%s', async (_operation, perform, result) => {
    await using opening = await arrange(native);
    perform(opening);
    expect(await outcome(opening.sender)).toBe(result);
    expect(getEventListeners(opening.stop.signal, 'abort')).toEqual([]);
  });
});
