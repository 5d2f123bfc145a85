/** The bytes of an answer and their digest, read without any sender. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';

export async function bytesOf(answer) {
  const parts = [];
  for await (const slice of answer.slices()) {
    if (slice.kind === 'bytes') parts.push(slice.data);
    else parts.push(await readRange(slice));
  }
  return Buffer.concat(parts);
}

async function readRange({ path, offset, length }) {
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
    if (bytesRead !== length) throw new Error(`${path} is too short`);
    return buffer;
  } finally {
    await file.close();
  }
}

export const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');
