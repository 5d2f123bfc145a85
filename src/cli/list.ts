/** `footage list`: the cameras and what is recorded of them. */
import type { Archive } from '../archive.ts';
import { FootageError } from '../errors.ts';
import { iso, printJson, withArchive } from './support.ts';

interface ListFlags {
  readonly archive: string;
  readonly camera?: string;
  readonly json?: true;
}

export async function runList(flags: ListFlags): Promise<void> {
  // Looking seals nothing: what a crash left open stays as it is.
  await withArchive(flags.archive, (archive) => list(archive, flags), { recover: false });
}

async function list(archive: Archive, flags: ListFlags): Promise<void> {
  const all = await archive.cameras();
  const cameras = flags.camera === undefined ? all : all.filter(({ name }) => name === flags.camera);
  if (cameras.length === 0 && flags.camera !== undefined) {
    throw new FootageError(
      'E_CAMERA_UNKNOWN',
      `There is no camera "${flags.camera}" in this archive: leave out --camera for all.`,
    );
  }
  for (const { path, reason } of archive.unreadable) process.stderr.write(`footage: unreadable: ${path}: ${reason}\n`);
  if (flags.json === true) return printJson({ cameras });
  for (const { name, recording, spans } of cameras) {
    process.stdout.write(`${name}${recording ? ' (recording)' : ''}\n`);
    for (const { startUtcMs, endUtcMs } of spans) {
      process.stdout.write(
        `  ${iso(startUtcMs)}  ${iso(endUtcMs)}  ${((endUtcMs - startUtcMs) / 1000).toFixed(3)} s\n`,
      );
    }
  }
}
