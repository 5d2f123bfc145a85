/** A stream sender that is closed while the stream still holds its last bytes: the idle timeout holds for those too. */
import { Writable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { leftSince, settledHoldings } from '../../scripts/leftovers.mjs';
import { twin } from '../../src/native.ts';
import { senderFor } from '../../src/sender/for-target.ts';
import { sleep, stalled, until } from './rig.ts';

const PIECE = { kind: 'bytes', data: Buffer.alloc(64 << 10) } as const;

test('a client that never takes the last bytes loses its connection', async () => {
  await using rig = await stalled(twin, { idleTimeoutMs: 300 });
  const { sender, socket } = rig;
  while (socket.writableLength === 0) {
    sender.enqueue(PIECE);
    for (let turns = 0; turns < 10; turns++) await turn();
  }
  await sender.drained();
  sender.close();
  expect([sender.error(), socket.destroyed]).toEqual([undefined, false]);
  await until('the connection has ended', () => socket.destroyed);
});

test('a stream that passes them on is left alone, and nobody watches it any longer', async () => {
  const held: (() => void)[] = [];
  const slow = new Writable({ highWaterMark: 1 << 20, write: (_chunk, _encoding, done) => held.push(done) });
  const before = await settledHoldings();
  const sender = await senderFor(slow, { native: twin, idleTimeoutMs: 2000 });
  for (let i = 0; i < 3; i++) sender.enqueue(PIECE);
  await sender.drained();
  sender.close();
  for (let i = 0; i < 3; i++) {
    await sleep(50);
    held.shift()?.();
  }
  await until('all was passed on', () => slow.writableLength === 0);
  expect(await leftSince(before)).toBe('');
  slow.write(PIECE.data);
  await sleep(2500);
  expect(slow.destroyed).toBe(false);
  for (const event of ['finish', 'close']) expect(slow.listenerCount(event)).toBe(0);
});
