/** `footage verify` and `footage recover`. */
import { type Archive, type RecoveryReport, type VerifyReport } from '../archive.ts';
import { FootageError } from '../errors.ts';
import { printJson, progressBar, withArchive } from './support.ts';

interface CheckFlags {
  readonly archive: string;
  readonly json?: true;
}

export async function runVerify({ archive: path, json }: CheckFlags): Promise<void> {
  // Checking changes nothing, not even the catalog: what a crash left open stays as it is.
  await withArchive(path, (archive) => verifyAll(archive, json === true), { readOnly: true });
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
  // Opening an archive recovers it; what that found is what is reported. What failed then is tried once more.
  await withArchive(path, async (archive) => {
    const done = archive.recovered.filter(({ recovery }) => recovery.outcome !== 'failed');
    const reports = [...done, ...(await archive.recover())];
    for (const report of reports) printRecovery(report, json === true);
    if (json !== true && reports.length === 0) process.stdout.write('nothing to recover\n');
    const failed = reports.flatMap(({ recovery }) => (recovery.outcome === 'failed' ? recovery.error : []));
    if (failed[0] !== undefined) throw failed[0];
  });
}

function printRecovery({ camera, path, recovery }: RecoveryReport, json: boolean): void {
  if (recovery.outcome === 'failed') {
    const { code, message } = recovery.error;
    if (json) printJson({ camera, path, outcome: 'failed', error: { code, message } });
    else process.stdout.write(`${path}: failed: ${message}\n`);
  } else if (json) {
    printJson({ camera, path, ...recovery });
  } else {
    const frames = recovery.outcome === 'sealed' ? `, ${recovery.frames} frames` : '';
    process.stdout.write(`${path}: ${recovery.outcome}${frames}\n`);
  }
}
