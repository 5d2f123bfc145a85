/** `footage list`: the cameras and what is recorded of them. */
import type { Archive } from '../archive.ts';
import type { UtcSpan } from '../catalog/timeline.ts';
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
  const listed = await Promise.all(
    cameras.map(async (camera) => ({ ...camera, gaps: (await archive.timeline(camera.name)).gaps })),
  );
  if (flags.json === true) return printJson({ cameras: listed });
  for (const { name, recording, spans, gaps } of listed) {
    process.stdout.write(`${name}${recording ? ' (recording)' : ''}\n`);
    for (const span of spans) {
      process.stdout.write(line(span));
      const gap = gaps.find(({ startUtcMs }) => startUtcMs === span.endUtcMs);
      if (gap?.cause !== undefined) process.stdout.write(line(gap, `  nothing (${gap.cause})`));
    }
  }
}

function line({ startUtcMs, endUtcMs }: UtcSpan, what = ''): string {
  return `  ${iso(startUtcMs)}  ${iso(endUtcMs)}  ${((endUtcMs - startUtcMs) / 1000).toFixed(3)} s${what}\n`;
}
