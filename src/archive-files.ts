/** What lies in an archive besides segments, and what it is. Changes nothing. */
import { join } from 'node:path';
import { ioError } from './errors.ts';
import type { Disk } from './segment/disk.ts';
import { indexPathOf, isCameraName, segmentIdOf } from './segment/layout.ts';

export interface OtherFile {
  readonly camera: string;
  /** Below the archive. */
  readonly path: string;
  /** One sentence. */
  readonly note: string;
}

const OWN_IN_ARCHIVE = /^(catalog\.db(-wal|-shm|-journal)?|\.scrub(\.new)?)$/;
const OWN_IN_CAMERA = /^(\.camera|\.gaps|\.writer(-journal|-wal|-shm)?)$/;
const DATE_FOLDER = /^\d{4}(\/\d{2}){0,2}$/;

const NOTES: readonly (readonly [RegExp, string])[] = [
  [/\.unreadable(-\d+)?$/, 'set aside, since it could not be understood'],
  [/\.before-repair-\d+$/, 'kept by a repair: what it replaced'],
  [/\.repairing(\.new)?$/, 'left by a repair that was interrupted'],
  [/^catalog\.db\.damaged-\d+$/, 'a damaged catalog that was set aside'],
];

const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1);

/** Files that are neither segments nor what belongs beside them. */
export async function otherFiles(disk: Disk, root: string): Promise<OtherFile[]> {
  const found: OtherFile[] = [];
  for (const name of await list(disk, root)) {
    const isFolder = (await disk.stat(join(root, name)).catch(() => undefined))?.isDirectory() === true;
    if (isFolder && isCameraName(name)) found.push(...(await inCamera(disk, root, name)));
    else if (!OWN_IN_ARCHIVE.test(name)) found.push({ camera: '', path: name, note: noteOf(name) });
  }
  return found;
}

async function inCamera(disk: Disk, root: string, camera: string): Promise<OtherFile[]> {
  const names = await list(disk, join(root, camera), true);
  const indexes = new Set(names.filter((name) => segmentIdOf(nameOf(name)) !== undefined).map(indexPathOf));
  const others = names.filter((name) => {
    const belongs = OWN_IN_CAMERA.test(name) || DATE_FOLDER.test(name) || indexes.has(name);
    return !belongs && segmentIdOf(nameOf(name)) === undefined;
  });
  return others.map((name) => ({ camera, path: join(camera, name), note: noteOf(nameOf(name)) }));
}

function noteOf(name: string): string {
  const known = NOTES.find(([pattern]) => pattern.test(name));
  return known?.[1] ?? (name.endsWith('.idx') ? 'a pseudo-header without its segment' : 'not a file of this archive');
}

async function list(disk: Disk, folder: string, recursive = false): Promise<string[]> {
  const names = await disk.readdir(folder, { recursive }).catch((error: unknown) => {
    throw ioError(error, `listing ${folder}`);
  });
  return names.toSorted();
}
