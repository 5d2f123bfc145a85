/** The stale-notification race: a hint may have been queued before the last piece was; the state is asked for. */
import { once } from 'node:events';
import net, { type Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { senderFor } from '../../src/sender/for-target.ts';
import { listen, makeFile, stalledClient, until, WAYS } from './rig.ts';

const file = makeFile(16 << 20);
const SOFT = 1 << 20;

describe.each(WAYS)('the %s sender', (_kind, native) => {
  test('a hint that is older than the last piece finds softLimit', async () => {
    await using running = await listen(net.createServer());
    const connection = once(running.server, 'connection');
    const client = await stalledClient(running.port, '');
    const [socket] = (await connection) as [Socket];
    const sender = await senderFor(socket, { native, softBarrier: SOFT, hardBarrier: 64 << 20 });
    const shared = file.open();
    const enqueue = () => sender.enqueue({ kind: 'file', file: shared, offset: 0, length: file.data.length });

    enqueue();
    await until('softLimit', () => sender.state() === 'softLimit');
    // Both wait for the same hint. The first one fills the queue again, so the second one's hint is stale.
    const first = sender.hint().then(() => {
      const told = sender.state();
      client.pause();
      return { told, after: enqueue() };
    });
    const second = sender.hint().then(() => sender.state());
    client.resume();
    const { told, after } = await first;
    expect(['ready', 'overloaded']).toContain(told);
    expect(after).toBe('softLimit');
    expect(await second).toBe('softLimit');

    client.resume();
    await sender.drained();
    expect(sender.sent()).toBe(2 * file.data.length);
    shared.release();
    sender.close();
    client.destroy();
  });
});
