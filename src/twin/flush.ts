/**
 * Group flush: every file's fdatasync at once on the thread pool, so the disk sees a group. Twin of native/flush.cc.
 */
import { fdatasync } from 'node:fs';
import { constants } from 'node:os';

function syncOne(fd: number): Promise<number> {
  return new Promise((resolve) => {
    fdatasync(fd, (error) => {
      if (error === null) resolve(0);
      else resolve(Math.abs(error.errno ?? constants.errno.EIO));
    });
  });
}

/** See `Native.groupFlush`. */
export async function groupFlush(fds: Int32Array): Promise<Int32Array> {
  return Int32Array.from(await Promise.all(Array.from(fds, syncOne)));
}
