/** A native sender that is closed between the last byte and the hint that tells of it. */
import net from 'node:net';
import { expect, test } from 'vitest';
import type { RawSender } from '../../src/native-types.ts';
import { NativeSender } from '../../src/sender/native.ts';

/** A raw sender whose bytes leave without a hint, as they do while a job of the thread pool is not yet accounted for. */
function silentSender(): { raw: RawSender; take: () => void } {
  let queued = 0;
  const raw: RawSender = {
    enqueueBytes: (data) => {
      queued += data.byteLength;
      return 0;
    },
    enqueueFile: () => 0,
    state: () => 0,
    fill: () => queued,
    queued: () => queued,
    sent: () => 0,
    error: () => 0,
    close: () => undefined,
  };
  return { raw, take: () => (queued = 0) };
}

test('whoever waits for the last byte is told when the sender is closed before its hint came', async () => {
  const { raw, take } = silentSender();
  const options = { softBarrier: 100, hardBarrier: 200, idleTimeoutMs: 0 };
  const sender = new NativeSender(() => raw, { socket: new net.Socket(), fd: 3 }, options);
  sender.enqueue({ kind: 'bytes', data: new Uint8Array(10) });
  const drained = sender.drained();
  take();
  sender.close();
  await expect(drained).resolves.toBeUndefined();
});
