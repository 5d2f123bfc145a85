/** `footage verify` and `footage recover`. */
import type { Archive, RecoveryReport, RepairReport, VerifyOptions, VerifyReport } from '../archive.ts';
import { mendCatalog } from '../archive-check.ts';
import { FootageError } from '../errors.ts';
import { type Bar, printJson, progressBar, withArchive } from './support.ts';

interface VerifyFlags {
  readonly archive: string;
  readonly camera?: string;
  readonly jobs?: number;
  readonly repair?: true;
  readonly json?: true;
}

export async function runVerify(flags: VerifyFlags): Promise<void> {
  // Checking changes nothing, not even the catalog. A repair decides itself what is to be recovered.
  const options = flags.repair === true ? { recover: false } : { readOnly: true };
  const mended = flags.repair === true ? await mendCatalog(flags.archive) : undefined;
  await withArchive(flags.archive, (archive) => verifyAll(archive, flags, mended), options);
}

/** Counters of a run, as `--json` prints them in its last line. */
interface Summary {
  segments: number;
  frames: number;
  bytes: number;
  /** Segments and other things with problems. */
  bad: number;
  repaired: number;
  setAside: number;
  /** Bad, and still so. */
  remaining: number;
  lostFrames: number;
}

async function verifyAll(
  archive: Archive,
  { camera, jobs, repair, json }: VerifyFlags,
  mended: RepairReport | undefined,
): Promise<void> {
  const bar = progressBar('verify', 1);
  const summary: Summary = {
    ...{ segments: 0, frames: 0, bytes: 0, bad: 0, repaired: 0, setAside: 0, remaining: 0, lostFrames: 0 },
  };
  const take = (report: RepairReport) => {
    count(summary, report);
    print(report, json === true);
  };
  if (mended !== undefined) take(mended);
  try {
    const options = { ...(camera && { camera }), ...(jobs && { jobs }), onProgress: barOf(bar) };
    for await (const report of reportsOf(archive, options, repair === true)) take(report);
  } finally {
    bar.stop();
  }
  printSummary(summary, repair === true, json === true);
  if (summary.remaining > 0) throw damaged(summary, repair === true);
}

const barOf = (bar: Bar) => (done: number, total: number) => bar.update(done, total);

/** Of a mere check nothing is repaired, and what is wrong remains. */
async function* reportsOf(archive: Archive, options: VerifyOptions, repair: boolean): AsyncGenerator<RepairReport> {
  if (repair) {
    yield* archive.repair(options);
  } else {
    for await (const report of archive.verify(options)) yield { ...report, repair: null, remaining: report.problems };
  }
}

function count(summary: Summary, { state, frames, bytes, problems, repair, remaining }: RepairReport): void {
  if (state !== 'other') summary.segments++;
  summary.frames += frames;
  summary.bytes += bytes;
  if (problems.length > 0) summary.bad++;
  if (remaining.length > 0) summary.remaining++;
  if (repair?.outcome === 'repaired' || repair?.outcome === 'rewritten') summary.repaired++;
  if (repair?.outcome === 'repaired') summary.lostFrames += repair.lostFrames ?? 0;
  if (repair?.outcome === 'set-aside') summary.setAside++;
}

function print(report: RepairReport, json: boolean): void {
  if (json) return printJson(report);
  for (const line of [...linesOf(report), ...repairLines(report)]) process.stdout.write(`${report.path}: ${line}\n`);
}

function linesOf({ problems, notes }: VerifyReport): string[] {
  const places = problems.map(({ code, from, to, message }) => {
    const place = to > from ? ` (bytes ${from} to ${to})` : '';
    return `${code}: ${message}${place}`;
  });
  return [...places, ...notes.map((note) => `note: ${note}`)];
}

function repairLines({ repair, remaining }: RepairReport): string[] {
  const left = remaining.map(({ code }) => code).join(', ');
  if (repair === null) return [];
  switch (repair.outcome) {
    case 'repaired': {
      const { frames, lostFrames, unreferenced, kept } = repair;
      const lost = lostFrames === null ? '' : `, ${lostFrames} fewer than before`;
      const hidden = unreferenced === 0 ? '' : `, ${unreferenced} pictures wait for a sync sample`;
      const where = kept === null ? '' : `; what was replaced is in ${kept}`;
      return [`repaired: ${frames} frames${lost}${hidden}${where}`, ...(left === '' ? [] : [`still: ${left}`])];
    }
    case 'rewritten':
      return ['repaired'];
    case 'set-aside':
      return [`set aside as ${repair.path}`];
    case 'removed':
      return ['removed: nothing was recorded in it'];
    case 'skipped':
      return [`not repaired: ${repair.reason}`];
    default:
      return [`not repaired: ${repair.error.code}: ${repair.error.message}`];
  }
}

function printSummary(summary: Summary, repair: boolean, json: boolean): void {
  if (json) return printJson({ summary });
  const { segments, frames, bad, repaired, setAside, lostFrames } = summary;
  const done = `, ${repaired} repaired, ${setAside} set aside, ${lostFrames} frames lost`;
  process.stdout.write(`${segments} segments, ${frames} frames, ${bad} with problems${repair ? done : ''}\n`);
}

const files = (count: number) => `${count} ${count === 1 ? 'file' : 'files'}`;

function damaged({ remaining, bad }: Summary, repair: boolean): FootageError {
  if (repair)
    return new FootageError(
      'E_DAMAGED',
      `${files(remaining)} of ${bad} with problems could not be repaired: see the lines above, and check the disk.`,
    );
  const what = `Problems in ${files(bad)}: see the lines above, run "footage verify --repair", and check the disk.`;
  return new FootageError('E_DAMAGED', what);
}

interface RecoverFlags {
  readonly archive: string;
  readonly json?: true;
}

export async function runRecover({ archive: path, json }: RecoverFlags): Promise<void> {
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
