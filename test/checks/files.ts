/** Reads the repository's own files for the checks. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/** Absolute path of the repository. */
export const ROOT = join(import.meta.dirname, '..', '..');

/** Text of a file of the repository. */
export function readText(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

/** Paths (with `/`) below a folder of the repository, relative to that folder, of all files with one of the endings. */
export function filesBelow(folder: string, ...endings: readonly string[]): string[] {
  const base = join(ROOT, folder);
  return readdirSync(base, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(base, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted();
}
