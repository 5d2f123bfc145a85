/**
 * Recording in real time while other processes export it up to the present second, again and again: each export is a
 * sound beginning of the source that grows. And footage with a hole is planned as a gap that every decoder passes.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { native } from '../../src/native.ts';
import { openIfThere } from '../../src/segment/disk.ts';
import { OPEN_PREFIX } from '../../src/segment/layout.ts';
import { readTrailer } from '../../src/segment/reader.ts';
import { at, exportTo, picturesOf, variantFile } from '../support/acceptance.ts';
import { packets, warnings } from '../support/ffmpeg.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

const FOOTAGE = join(import.meta.dirname, '..', '..', 'bin', 'footage.cjs');

interface Report {
  readonly appendedVideoFrames: number;
  readonly appendedAudioFrames: number;
  readonly flushedVideoFrames: number;
}

interface Recorder {
  readonly camera: string;
  readonly reports: Report[];
  readonly ended: Promise<number | null>;
}

function startRecorder(archive: string, camera: string, input: string, seconds: number): Recorder {
  const args = [
    'record',
    '--archive',
    archive,
    '--camera',
    camera,
    '--input',
    input,
    '--duration',
    String(seconds),
    '--json',
  ];
  const child: ChildProcess = spawn(process.execPath, [FOOTAGE, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  const reports: Report[] = [];
  if (child.stdout === null) throw new Error('no standard output');
  createInterface({ input: child.stdout }).on('line', (line) => reports.push(JSON.parse(line)));
  return { camera, reports, ended: once(child, 'exit').then(([code]) => code) };
}

const hashesOf = async (file: string) => {
  const all = await packets(file, { hash: true });
  return [0, 1].map((stream) => all.filter((one) => one.stream === stream).map(({ hash }) => hash));
};

/** How many packets of the source the export begins with; fails when it has any other. */
function prefixLength(exported: readonly unknown[], source: readonly unknown[]): number {
  expect(exported.findIndex((hash, i) => hash !== source[i])).toBe(-1);
  return exported.length;
}

test('two recordings are exported up to the present second by other processes, while they grow', async () => {
  const folder = await temporaryFolder();
  const archive = join(folder, 'archive');
  const input = await mediaFile('h264-aac');
  const source = await hashesOf(input);
  const fromS = Date.now() / 1000 - 1;
  const recorders = ['door', 'yard'].map((camera) => startRecorder(archive, camera, input, 9));
  const lengths = new Map<string, number[]>(recorders.map(({ camera }) => [camera, []]));
  let round = 0;
  const exportOnce = async ({ camera, reports }: Recorder) => {
    const output = join(folder, `${camera}-${round}.mp4`);
    const before = reports.at(-1);
    const range = ['--start', String(fromS), '--end', String(Date.now() / 1000)];
    await run(process.execPath, [FOOTAGE, 'export', '--archive', archive, '--camera', camera, ...range, '-o', output]);
    const [video = [], audio = []] = await hashesOf(output);
    // The picture that was appended last has no successor yet, so nobody knows how long it lasts.
    expect(prefixLength(video, source[0] ?? [])).toBeGreaterThanOrEqual((before?.appendedVideoFrames ?? 0) - 1);
    prefixLength(audio, source[1] ?? []);
    if (round % 2 === 0) expect(await warnings(output)).toBe('');
    lengths.get(camera)?.push(video.length);
    await rm(output);
  };
  for (const { reports } of recorders)
    while (reports.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  for (; recorders.some(({ reports }) => (reports.at(-1)?.appendedVideoFrames ?? 0) < 190); round++) {
    await Promise.all(recorders.map(exportOnce));
  }
  expect(await Promise.all(recorders.map(({ ended }) => ended))).toEqual([0, 0]);
  for (const recorder of recorders) {
    const grown = lengths.get(recorder.camera) ?? [];
    expect(grown.length).toBeGreaterThan(2);
    expect(grown).toEqual(grown.toSorted((a, b) => a - b));
    expect(grown.at(-1)).toBeGreaterThan((grown[0] ?? 0) + 50);
    // 9 s of 25 pictures; everything is durable at the end.
    expect(recorder.reports.at(-1)).toMatchObject({ appendedVideoFrames: 225, flushedVideoFrames: 225 });
    await exportOnce(recorder);
    expect(lengths.get(recorder.camera)?.at(-1)).toBe(225);
  }
  await run(process.execPath, [FOOTAGE, 'verify', '--archive', archive]);
});

test('a second recorder of the same camera is refused by the name of the reason', async () => {
  const archive = join(await temporaryFolder(), 'archive');
  const input = await mediaFile('h264-aac');
  const first = startRecorder(archive, 'door', input, 5);
  while (first.reports.length === 0) await new Promise((resolve) => setTimeout(resolve, 50));
  const args = [
    'record',
    '--archive',
    archive,
    '--camera',
    'door',
    '--input',
    input,
    '--duration',
    '1',
    '--wait',
    '0.1',
  ];
  const { status, stderr } = await run(process.execPath, [FOOTAGE, ...args], { allowFailure: true });
  expect(status).toBe(1);
  expect(stderr).toContain('E_CAMERA_BUSY');
  expect(await first.ended).toBe(0);
});

describe('a hole in the tail of a crashed segment', () => {
  test('is planned as a gap: FFmpeg decodes all that is delivered, picture for picture as in the source', async () => {
    const folder = await temporaryFolder();
    const root = join(folder, 'archive');
    const source = await variantFile('plain');
    {
      await using archive = await openArchive(root);
      await archive.import('door', source, { start: at(0) });
    }
    const path = await crash(root);
    await using archive = await openArchive(root);
    expect(archive.recovered).toMatchObject([{ recovery: { outcome: 'sealed', damaged: [expect.anything()] } }]);
    for await (const report of archive.verify()) expect(report.problems).toEqual([]);
    const output = join(folder, 'export.mp4');
    const { manifest } = await exportTo(output, archive, { camera: 'door', start: at(0), duration: 12 });
    expect(await warnings(output)).toBe('');
    expect(manifest.delivered.length).toBe(2);
    expect(manifest.missing.length).toBeGreaterThanOrEqual(1);
    const [gap] = manifest.missing;
    // The hole is at 5 s; sync samples are 2 s apart at most.
    expect((gap?.startUtcMs ?? 0) - at(0).getTime()).toBeGreaterThan(3000);
    expect((gap?.endUtcMs ?? 0) - (gap?.startUtcMs ?? 0)).toBeLessThan(2500);
    const wanted = new Set((await picturesOf(source)).map(({ hash }) => hash));
    const found = await picturesOf(output);
    expect(found.length).toBeGreaterThan(230);
    expect(found.filter(({ hash }) => !wanted.has(hash))).toEqual([]);
    await expect(archive.session({ camera: 'door', start: at(0), duration: 12, gaps: 'error' })).rejects.toMatchObject({
      code: 'E_GAP',
    });
    expect(path).toContain('.mp4');
  });
});

/** Makes the archive's only segment one that a power cut left open, with 4 KiB of zeros in its middle. */
async function crash(root: string): Promise<string> {
  const { stdout } = await run('find', [root, '-name', '*.mp4']);
  const path = stdout.toString().trim();
  const file = await openIfThere(path);
  const trailer = file && (await readTrailer(file, native));
  await file?.close();
  const bytes = (await readFile(path)).subarray(0, trailer?.moov.offset);
  bytes.set(OPEN_PREFIX);
  // Without the end record, too.
  const open = bytes.subarray(0, bytes.length - 64);
  const middle = Math.floor((open.length * 5) / 12);
  open.fill(0, middle, middle + 4096);
  await writeFile(path, open);
  for (const name of ['catalog.db', 'catalog.db-wal', 'catalog.db-shm']) await rm(join(root, name), { force: true });
  return path;
}
