/** The check in the background: what it reads, what it tells, where it goes on after a restart. */
import { open, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { type Archive, openArchive, type VerifyReport } from '../../src/archive.ts';
import { CLIP } from '../support/handler-fixture.ts';
import { footageInBackground } from '../support/command.ts';
import { temporaryFolder } from '../support/tmp.ts';

const START = Date.parse('2026-01-31T12:00:00Z');
const FAST = { periodMs: 3_600_000, bytesPerSecond: 1e9 };

async function threeSegments(): Promise<{ root: string; paths: string[] }> {
  const root = await temporaryFolder();
  await using archive = await openArchive(root);
  for (const seconds of [0, 20, 40]) await archive.import('door', CLIP, { start: new Date(START + seconds * 1000) });
  const paths: string[] = [];
  for await (const { state, path } of archive.verify()) if (state === 'sealed') paths.push(path);
  return { root, paths };
}

/** Scrubs until the archive has been read to its end. */
async function scrubbed(archive: Archive, options = {}): Promise<VerifyReport[]> {
  const reports: VerifyReport[] = [];
  const stop = new AbortController();
  const onReport = (report: VerifyReport) => void reports.push(report);
  const running = archive.scrub({ ...FAST, ...options, onReport, signal: stop.signal });
  await vi.waitFor(() => expect(archive.stats().scrub?.endedUtcMs).toBeTypeOf('number'), { timeout: 60_000 });
  stop.abort();
  await running;
  return reports;
}

async function hurt(path: string): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(64), 0, 64, 150_000);
  await file.close();
}

test('reads every segment, and tells and counts what is wrong', async () => {
  const { root, paths } = await threeSegments();
  await hurt(join(root, paths[1] ?? ''));
  await using archive = await openArchive(root);
  expect(archive.stats().scrub).toBeNull();
  const reports = await scrubbed(archive);
  expect(reports.map(({ path }) => path)).toEqual(paths);
  expect(reports.map(({ problems }) => problems.map(({ code }) => code))).toEqual([[], ['frame-damaged'], []]);
  const bytes = reports.reduce((sum, report) => sum + report.bytes, 0);
  expect(archive.stats().scrub).toMatchObject({ running: false, segments: 3, damaged: 1, bytes });
});

test('goes on where it was, and waits for its next time when it was at the end', async () => {
  const { root, paths } = await threeSegments();
  const begunUtcMs = Date.now() - 1000;
  await writeFile(join(root, '.scrub'), JSON.stringify({ begunUtcMs, endedUtcMs: null, after: paths[1] }));
  await using first = await openArchive(root);
  expect((await scrubbed(first)).map(({ path }) => path)).toEqual(paths.slice(2));
  await first.close();
  await using second = await openArchive(root);
  expect(await scrubbed(second)).toEqual([]);
  await second.close();
  const place = JSON.parse(await readFile(join(root, '.scrub'), 'utf8')) as { begunUtcMs: number };
  expect(place.begunUtcMs).toBe(begunUtcMs);
  await using third = await openArchive(root);
  const stop = new AbortController();
  const again: string[] = [];
  const onReport = ({ path }: VerifyReport) => void again.push(path);
  const running = third.scrub({ ...FAST, periodMs: 1, onReport, signal: stop.signal });
  await vi.waitFor(() => expect(again.length).toBeGreaterThanOrEqual(3), { timeout: 60_000 });
  stop.abort();
  await running;
  expect(again.slice(0, 3)).toEqual(paths);
});

test('a place that cannot be read is a beginning', async () => {
  const { root, paths } = await threeSegments();
  await writeFile(join(root, '.scrub'), '{"begun');
  await using archive = await openArchive(root);
  expect((await scrubbed(archive)).map(({ path }) => path)).toEqual(paths);
});

test('what is being recorded is left for when it is sealed', async () => {
  const { root, paths } = await threeSegments();
  await using archive = await openArchive(root);
  async function* nothing() {
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
    yield* [];
  }
  const stop = new AbortController();
  const tracks = [
    { kind: 'audio', codec: 'ulaw', timescale: 8000, config: new Uint8Array(0), sampleRate: 8000, channels: 1 },
  ] as const;
  const recording = await archive.record('yard', { tracks, frames: nothing() });
  expect((await scrubbed(archive)).map(({ path }) => path)).toEqual(paths);
  stop.abort();
  await recording.stop();
});

test('is ended by closing the archive, and refuses wrong options and a second one', async () => {
  const { root } = await threeSegments();
  const archive = await openArchive(root);
  await expect(archive.scrub({ periodMs: 0 })).rejects.toThrow(RangeError);
  await expect(archive.scrub({ bytesPerSecond: 0.5 })).rejects.toThrow(RangeError);
  await expect(archive.scrub({ period: 1 } as object)).rejects.toThrow(TypeError);
  const running = archive.scrub({ bytesPerSecond: 1 });
  await vi.waitFor(() => expect(archive.stats().scrub?.running).toBe(true));
  await expect(archive.scrub()).rejects.toThrow(TypeError);
  await archive.close();
  await running;
});

test('footage serve does it, and writes what it finds as a line of JSON', async () => {
  const { root, paths } = await threeSegments();
  await hurt(join(root, paths[2] ?? ''));
  const server = footageInBackground([
    'serve',
    '--archive',
    root,
    '--port',
    '0',
    '--scrub',
    '1d',
    '--scrub-rate',
    '1000000000',
  ]);
  await server.says(/listening/);
  await vi.waitFor(async () => expect(await readFile(join(root, '.scrub'), 'utf8')).toContain(paths[2]), {
    timeout: 60_000,
  });
  const { stderr } = await server.end('SIGTERM');
  const lines = stderr.split('\n').filter((line) => line.startsWith('{'));
  expect(lines.map((line) => JSON.parse(line) as unknown)).toMatchObject([
    { scrub: { camera: 'door', path: paths[2], problems: [{ code: 'frame-damaged' }] } },
  ]);
});
