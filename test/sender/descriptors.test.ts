/** What a queue costs in descriptors: one for each file in it, however many pieces there are and in whatever order. */
import { closeSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadAddon } from '../../src/native.ts';
import type { Piece, Sender, SharedFile } from '../../src/sender/sender.ts';
import { digest, makeFile, openDescriptors, receive, settledDescriptors, stalled, until, WAYS } from './rig.ts';

/** More than the sockets of the loopback hold: what is queued behind it stays queued. */
const plug = makeFile(20_000_001);
const files = [makeFile(3_000_001), makeFile(3_000_002)] as const;
const PIECES = 1000;
const PIECE_BYTES = 1500;

/** A piece and the bytes that it stands for. */
interface Expected {
  readonly piece: Piece;
  readonly data: Uint8Array;
}

/** Bytes, first file, bytes, second file, and so on; no range continues the one before. */
function alternating(opened: readonly SharedFile[]): Expected[] {
  return Array.from({ length: PIECES }, (_, i): Expected => {
    const bytes = Buffer.alloc(PIECE_BYTES, i);
    if (i % 2 === 0) return { piece: { kind: 'bytes', data: bytes }, data: bytes };
    const which = (i >> 1) % 2;
    const [file, source] = [opened[which] as SharedFile, (files[which] ?? files[0]).data];
    const offset = i * 2000;
    const data = source.subarray(offset, offset + PIECE_BYTES);
    return { piece: { kind: 'file', file, offset, length: PIECE_BYTES }, data };
  });
}

function enqueuePlug(sender: Sender): void {
  const shared = plug.open();
  sender.enqueue({ kind: 'file', file: shared, offset: 0, length: plug.data.length });
  shared.release();
}

/** Queues everything on a sender that has none of the files open, and closes the caller's own descriptors. */
function enqueueAlternating(sender: Sender): Uint8Array[] {
  const opened = files.map((file) => file.open());
  const expected = alternating(opened);
  for (const { piece } of expected) expect(sender.enqueue(piece)).not.toBe('closed');
  for (const file of opened) file.release();
  return expected.map(({ data }) => data);
}

describe.each(WAYS)('the %s sender', (_kind, native) => {
  test('holds one descriptor per file, not one per piece, and none of a file that was sent', async () => {
    await using rig = await stalled(native);
    const before = await settledDescriptors();
    enqueuePlug(rig.sender);
    const pieces = enqueueAlternating(rig.sender);
    expect(await settledDescriptors()).toBeLessThanOrEqual(before + 4);

    const length = plug.data.length + PIECES * PIECE_BYTES;
    const received = await receive(rig.client, length);
    expect(digest(received)).toBe(digest(plug.data, ...pieces));
    await rig.sender.drained();
    await until('as many descriptors as before', () => openDescriptors() <= before);
    rig.sender.close();
  });

  test('sends a file again after it was sent, and closed, once', async () => {
    await using rig = await stalled(native);
    const before = await settledDescriptors();
    rig.client.resume();
    for (let round = 1; round <= 3; round++) {
      enqueueAlternating(rig.sender);
      await rig.sender.drained();
      expect(rig.sender.sent()).toBe(round * PIECES * PIECE_BYTES);
      await until('as many descriptors as before', () => openDescriptors() <= before);
    }
    rig.sender.close();
  });

  test('closes them all when the client goes with everything queued', async () => {
    const before = await settledDescriptors();
    const rig = await stalled(native);
    enqueuePlug(rig.sender);
    enqueueAlternating(rig.sender);
    rig.client.resetAndDestroy();
    await expect(rig.sender.drained()).rejects.toMatchObject({ code: 'E_CLIENT_GONE' });
    await rig[Symbol.asyncDispose]();
    await until('as many descriptors as before', () => openDescriptors() <= before);
  });
});

/** Opens `name` on just this descriptor number, which was closed a moment ago. */
function openOn(fd: number, name: string): number {
  const lower: number[] = [];
  let opened = openSync(name, 'r');
  for (; opened !== fd && lower.length < 100; opened = openSync(name, 'r')) lower.push(opened);
  for (const other of lower) closeSync(other);
  return opened;
}

// Only here: the stream sender has no descriptors of its own, so its caller's stay open.
test('the native sender does not take a file for another that had the same descriptor, name and perhaps inode', async () => {
  await using rig = await stalled(loadAddon());
  const name = path.join(tmpdir(), `footage-reused-${process.pid}`);
  const before = await settledDescriptors();
  enqueuePlug(rig.sender);
  const parts: Uint8Array[] = [plug.data];
  let fd: number | undefined;
  for (let generation = 1; generation <= 20; generation++) {
    const data = Buffer.alloc(PIECE_BYTES, generation);
    writeFileSync(name, data);
    const opened: number = fd === undefined ? openSync(name, 'r') : openOn(fd, name);
    expect(opened).toBe(fd ?? opened);
    fd = opened;
    const file: SharedFile = { fd, retain: () => undefined, release: () => undefined };
    const mark = Buffer.from(`generation ${generation}`);
    rig.sender.enqueue({ kind: 'file', file, offset: 0, length: data.length });
    rig.sender.enqueue({ kind: 'bytes', data: mark });
    parts.push(data, mark);
    closeSync(fd);
    unlinkSync(name);
  }
  const expected = Buffer.concat(parts);
  expect(digest(await receive(rig.client, expected.length))).toBe(digest(expected));
  await rig.sender.drained();
  await until('as many descriptors as before', () => openDescriptors() <= before);
  rig.sender.close();
});
