/** A file opened once for several users. */
import { close, type PathLike } from 'node:fs';
import { open as openFile } from 'node:fs';
import { promisify } from 'node:util';
import type { SharedFile } from './sender.ts';

const openAsync = promisify(openFile);

/** Opens for reading; the opener is the first user and releases it once. */
export async function openShared(path: PathLike): Promise<SharedFile> {
  return shareDescriptor(await openAsync(path, 'r'));
}

/** Takes over a descriptor that is open for reading; the caller is the first user. */
export function shareDescriptor(fd: number): SharedFile {
  let users = 1;
  return {
    fd,
    retain() {
      if (users === 0) throw new Error('a shared file was retained after its last user had released it');
      users++;
    },
    release() {
      if (users === 0) throw new Error('a shared file was released more often than retained');
      users--;
      if (users === 0) close(fd, throwUnlessClosed);
    },
  };
}

/** Files are opened for reading only, so a failed close is a mistake in this program, not a loss. */
function throwUnlessClosed(error: Error | null | undefined): void {
  if (error !== null && error !== undefined) throw error;
}
