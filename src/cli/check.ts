/** `footage verify` and `footage recover`. */
import { type Archive, type VerifyReport } from '../archive.ts';
import { FootageError } from '../errors.ts';
import { printJson, progressBar, withArchive } from './support.ts';

interface CheckFlags {
  readonly archive: string;
  readonly json?: true;
}

export async function runVerify({ archive: path, json }: CheckFlags): Promise<void> {
  // Checking changes nothing: what a crash left open stays as it is.
  await withArchive(path, (archive) => verifyAll(archive, json === true), { recover: false });
}

async function verifyAll(archive: Archive, json: boolean): Promise<void> {
  const bar = progressBar('verify', archive.segmentCount);
  let segments = 0;
  let frames = 0;
  let bad = 0;
  for await (const report of archive.verify()) {
    bar.update(++segments);
    frames += report.frames;
    if (report.problems.length > 0) bad++;
    print(report, json);
  }
  bar.stop();
  if (!json) process.stdout.write(`${segments} segments, ${frames} frames, ${bad} with problems\n`);
  if (bad > 0)
    throw new FootageError('E_DAMAGED', `${bad} of ${segments} segments have problems: see the lines above.`);
}

function print(report: VerifyReport, json: boolean): void {
  if (json) printJson(report);
  else for (const problem of report.problems) process.stdout.write(`${report.path}: ${problem}\n`);
}

export async function runRecover({ archive: path, json }: CheckFlags): Promise<void> {
  // Opening an archive recovers it; what that found is what is reported.
  await withArchive(path, async (archive) => {
    const reports = [...archive.recovered, ...(await archive.recover())];
    for (const report of reports) {
      const { camera, path: segment, recovery } = report;
      if (json === true) printJson({ camera, path: segment, ...recovery });
      else
        process.stdout.write(
          `${segment}: ${recovery.outcome}${recovery.outcome === 'sealed' ? `, ${recovery.frames} frames` : ''}\n`,
        );
    }
    if (json !== true && reports.length === 0) process.stdout.write('nothing to recover\n');
  });
}
