/**
 * Recording in real time while other processes export it up to the present second, again and again: each export is a
 * sound beginning of the source that grows. And footage with a hole is planned as a gap that every decoder passes.
 */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { native } from '../../src/native.ts';
import { openIfThere, nodeDisk } from '../../src/segment/disk.ts';
import { OPEN_PREFIX } from '../../src/segment/layout.ts';
import { readTrailer } from '../../src/segment/reader.ts';
import type { Manifest } from '../../src/session/manifest.ts';
import { at, exportTo, picturesOf, variantFile } from '../support/acceptance.ts';
import { footage, footageInBackground } from '../support/command.ts';
import { type Packet, packets, warnings } from '../support/ffmpeg.ts';
import { FRAME_RATE, mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

interface Report {
  readonly appendedVideoFrames: number;
  readonly flushedVideoFrames: number;
}

interface Recorder {
  readonly camera: string;
  /** What it has reported so far. */
  readonly reports: () => Report[];
  /** Ends it, and gives its last report. */
  readonly end: () => Promise<Report>;
}

function reportsIn(stdout: string): Report[] {
  const whole = stdout.slice(0, stdout.lastIndexOf('\n') + 1);
  return whole.split('\n').flatMap((line) => (line === '' ? [] : (JSON.parse(line) as Report)));
}

/** Starts to record the file, and waits for the first report. */
async function startRecorder(archive: string, camera: string, input: string): Promise<Recorder> {
  const args = ['record', '--archive', archive, '--camera', camera, '--input', input, '--json'];
  const program = footageInBackground(args);
  await program.says(/"appendedVideoFrames":[1-9].*\n/);
  const end = async () => {
    const { status, stdout, stderr } = await program.end('SIGINT');
    expect([status, stderr]).toEqual([0, '']);
    return reportsIn(stdout).at(-1) ?? { appendedVideoFrames: 0, flushedVideoFrames: 0 };
  };
  return { camera, reports: () => reportsIn(program.stdout()), end };
}

interface Packets {
  readonly video: readonly Packet[];
  readonly audio: readonly Packet[];
}

async function packetsOf(file: string): Promise<Packets> {
  const all = await packets(file, { hash: true });
  const [video, audio] = [0, 1].map((index) => all.filter(({ stream }) => stream === index));
  return { video: video ?? [], audio: audio ?? [] };
}

/** How many packets of the source the export begins with; fails when it has any other. */
function prefixLength(exported: readonly Packet[], source: readonly Packet[]): number {
  expect(exported.findIndex(({ hash }, i) => hash !== source[i]?.hash)).toBe(-1);
  return exported.length;
}

/**
 * How many pictures an export up to `endMs` of the recording must have at least, when so many had been appended before.
 * The one that was appended last has no successor yet, so nobody knows how long it lasts. And a picture is appended when
 * it is time to decode it: with B-frames its presentation may still lie ahead, behind the end of the range.
 */
function leastPictures(source: readonly Packet[], appended: number, endMs: number): number {
  const known = source.slice(0, Math.max(0, appended - 1));
  // A quarter of a picture is more than the rounding of instants to ticks.
  return known.findLastIndex(({ pts, duration }) => pts / duration + 0.25 < (endMs * FRAME_RATE) / 1000) + 1;
}

/** Exports in a process of its own; returns the first instant of the answer, Unix ms. */
async function exportUpTo(endS: number, archive: string, camera: string, output: string): Promise<number> {
  const range = ['--start', String(endS - 3600), '--end', String(endS)];
  const where = ['--archive', archive, '--camera', camera, '--json', '-o', output];
  const { status, stdout } = await footage('export', ...where, ...range);
  expect(status).toBe(0);
  return (JSON.parse(stdout) as Manifest).delivered[0]?.startUtcMs ?? Infinity;
}

/** Several exports, over six seconds of the recording. */
const hasGrown = (lengths: readonly number[]) => lengths.length > 2 && (lengths.at(-1) ?? 0) > (lengths[0] ?? 0) + 150;

test('two recordings are exported up to the present second by other processes, while they grow', async () => {
  const folder = await temporaryFolder();
  const archive = join(folder, 'archive');
  const input = await mediaFile('h264-aac');
  const source = await packetsOf(input);
  const recorders = await Promise.all(['door', 'yard'].map((camera) => startRecorder(archive, camera, input)));
  const lengths = new Map<string, number[]>(recorders.map(({ camera }) => [camera, []]));
  const exportNow = async ({ camera, reports }: Recorder, round: number) => {
    const output = join(folder, `${camera}-${round}.mp4`);
    const { appendedVideoFrames = 0 } = reports().at(-1) ?? {};
    const endMs = Date.now();
    const startUtcMs = await exportUpTo(endMs / 1000, archive, camera, output);
    const { video, audio } = await packetsOf(output);
    const least = leastPictures(source.video, appendedVideoFrames, endMs - startUtcMs);
    expect(prefixLength(video, source.video)).toBeGreaterThanOrEqual(least);
    prefixLength(audio, source.audio);
    if (round % 2 === 0) expect(await warnings(output)).toBe('');
    lengths.get(camera)?.push(video.length);
    await rm(output);
  };
  // However long a round takes.
  for (let round = 0; ![...lengths.values()].every(hasGrown); round++) {
    await Promise.all(recorders.map((recorder) => exportNow(recorder, round)));
  }
  for (const { camera, end } of recorders) {
    const { appendedVideoFrames, flushedVideoFrames } = await end();
    expect(flushedVideoFrames).toBe(appendedVideoFrames);
    const output = join(folder, `${camera}.mp4`);
    // A minute ahead: whatever was appended is presented before.
    await exportUpTo(Date.now() / 1000 + 60, archive, camera, output);
    const all = [...(lengths.get(camera) ?? []), prefixLength((await packetsOf(output)).video, source.video)];
    expect(all.at(-1)).toBe(appendedVideoFrames);
    expect(all).toEqual(all.toSorted((a, b) => a - b));
  }
  expect((await footage('verify', '--archive', archive)).status).toBe(0);
});

test('a second recorder of the same camera is refused by the name of the reason', async () => {
  const archive = join(await temporaryFolder(), 'archive');
  const input = await mediaFile('h264-aac');
  const first = await startRecorder(archive, 'door', input);
  const args = ['--archive', archive, '--camera', 'door', '--input', input, '--duration', '1', '--wait', '0.1'];
  const { status, stderr } = await footage('record', ...args);
  expect(status).toBe(1);
  expect(stderr).toContain('E_CAMERA_BUSY');
  await first.end();
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
  const file = await openIfThere(nodeDisk, path);
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
