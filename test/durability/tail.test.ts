/** What a recovery reads of a segment that a crash left open: its tail, however long it is. */
import { copyFile, readFile, stat, truncate } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { indexPathOf } from '../../src/segment/layout.ts';
import { recoverSegment } from '../../src/segment/recover.ts';
import { Author, io, quickFlusher } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PICTURE_BYTES = 60_000;

/** Bytes that this process has read so far, from files and elsewhere. */
async function bytesRead(): Promise<number> {
  return Number(/^rchar: (\d+)$/m.exec(await readFile('/proc/self/io', 'utf8'))?.[1]);
}

/** An open segment of `indexed` pictures that its pseudo-header covers, and `tail` more; the last one is torn. */
async function leftOpen(indexed: number, tail: number): Promise<string> {
  const author = await Author.begin(await temporaryFolder());
  for (let i = 0; i < indexed; i++) author.picture(PICTURE_BYTES);
  await author.flush();
  const index = indexPathOf(author.writer.path);
  await copyFile(index, `${index}.kept`);
  for (let i = 0; i < tail; i++) author.picture(PICTURE_BYTES);
  await author.writer.written();
  await author.writer.close();
  await truncate(author.writer.path, (await stat(author.writer.path)).size - 10);
  await copyFile(`${index}.kept`, index);
  return author.writer.path;
}

test('is what no block of the pseudo-header covers, and a little more', async () => {
  const path = await leftOpen(800, 10);
  const { size } = await stat(path);
  expect(size).toBeGreaterThan(48_000_000);
  const before = await bytesRead();
  const recovery = await recoverSegment(path, { ...io, flusher: quickFlusher() });
  const read = (await bytesRead()) - before;
  expect(recovery).toMatchObject({ outcome: 'sealed', frames: 809 });
  // The tail is 0.6 MB; it is read in windows, and once more to know where it is torn.
  expect(read).toBeLessThan(4_000_000);
});
