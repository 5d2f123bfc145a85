import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { LAYERS } from './layers.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'footage-flush-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe.each(LAYERS)('groupFlush of the %s', (name, native) => {
  test('flushes many files', async () => {
    const fds = Array.from({ length: 50 }, (_, i) => openSync(path.join(folder, `${name}-${i}`), 'w'));
    for (const fd of fds) writeSync(fd, Buffer.alloc(10_000, fd));
    expect([...(await native.groupFlush(Int32Array.from(fds)))]).toEqual(fds.map(() => 0));
    for (const fd of fds) closeSync(fd);
  });

  test('tells the errno of each file, and flushes the others', async () => {
    const good = openSync(path.join(folder, `${name}-good`), 'w');
    const unsyncable = openSync('/dev/null', 'w');
    const errors = await native.groupFlush(Int32Array.of(good, 9999, unsyncable, good));
    expect([...errors]).toEqual([0, constants.errno.EBADF, constants.errno.EINVAL, 0]);
    closeSync(good);
    closeSync(unsyncable);
  });

  test('has nothing to do for no files, and refuses what is no list of descriptors', async () => {
    expect(await native.groupFlush(new Int32Array(0))).toHaveLength(0);
    await expect(native.groupFlush([1] as never)).rejects.toThrow(TypeError);
  });
});
