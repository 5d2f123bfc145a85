/** `footage import`: media files, as if recorded at a given time. */
import { openArchive } from '../archive.ts';
import { checkAnyMediaFile } from '../ingest/converted-file.ts';
import { checkCameraName } from '../segment/layout.ts';
import { parseTime } from '../time.ts';
import { iso, printJson, progressBar, untilInterrupted } from './support.ts';

interface ImportFlags {
  readonly archive: string;
  readonly camera: string;
  readonly start: string;
  readonly overlap: 'refuse' | 'keep';
  readonly wait: number;
  readonly json?: true;
}

export async function runImport(files: readonly string[], flags: ImportFlags): Promise<void> {
  checkCameraName(flags.camera);
  let startUtcMs = parseTime(flags.start, '--start');
  const signal = untilInterrupted();
  // A bad file is refused before anything is made or imported.
  for (const file of files) await checkAnyMediaFile(file, signal);
  const archive = await openArchive(flags.archive, { lockWaitMs: flags.wait * 1000 });
  try {
    for (const file of files) {
      const bar = progressBar(file, 100);
      const onProgress = (doneMs: number, totalMs: number) => bar.update((100 * doneMs) / totalMs);
      // As seconds: a Date would cut the microseconds off, and the file would overlap the one before.
      const options = { start: startUtcMs / 1000, overlap: flags.overlap, signal, onProgress };
      const result = await archive.import(flags.camera, file, options).finally(() => bar.stop());
      startUtcMs = result.endUtcMs;
      for (const line of result.skipped) process.stderr.write(`footage: ${file}: not imported: ${line}\n`);
      if (flags.json === true) printJson({ file, ...result });
      else process.stdout.write(`${file}: ${flags.camera} ${iso(result.startUtcMs)} to ${iso(result.endUtcMs)}\n`);
    }
  } finally {
    await archive.close();
  }
}
