/**
 * Several imports in one range: their pictures in order, sound and picture in step over every gap, each sample once where
 * imports overlap, one answer for sources of different timescales, and a clear refusal where a codec changes.
 */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import { at, exportTo, flashFile, importFlashes, picturesOf, variantFile } from '../support/acceptance.ts';
import { avSyncFfmpeg, packets, probe, warnings } from '../support/ffmpeg.ts';
import { makeMedia, mediaFile } from '../support/media.ts';
import { temporaryFolder } from '../support/tmp.ts';

/** Imports the files one behind the other, each `gapS` seconds after the end of the one before. */
async function importAll(
  archive: Archive,
  files: readonly string[],
  gapS: number,
  overlap: 'refuse' | 'keep' = 'refuse',
) {
  let start = at(0);
  for (const file of files) {
    const { endUtcMs } = await archive.import('door', file, { start, overlap });
    start = new Date(endUtcMs + gapS * 1000);
  }
  return { camera: 'door', start: at(-1), end: start };
}

async function picturesOfAll(files: readonly string[]): Promise<string[]> {
  const all = await Promise.all(files.map((file) => picturesOf(file)));
  return all.flat().map(({ hash }) => hash);
}

function expectIncreasing(times: readonly number[]): void {
  times.forEach((time, i) => expect(time).toBeGreaterThan(times[i - 1] ?? -1));
}

describe('two imports with a gap', () => {
  test.each(['plain', 'H.265 with open GOPs', '23.976 frames a second', 'B-pyramid'] as const)(
    '%s: both, in order',
    async (variant) => {
      const folder = await temporaryFolder();
      await using archive = await openArchive(join(folder, 'archive'));
      const files = [await variantFile(variant), await variantFile(variant)];
      const request = await importAll(archive, files, 37.123);
      const exported = join(folder, 'export.mp4');
      const { manifest } = await exportTo(exported, archive, request);
      expect(manifest.delivered).toHaveLength(2);
      expect(manifest.missing.some(({ startUtcMs, endUtcMs }) => Math.abs(endUtcMs - startUtcMs - 37_123) < 1)).toBe(
        true,
      );
      const pictures = await picturesOf(exported);
      expect(pictures.map(({ hash }) => hash)).toEqual(await picturesOfAll(files));
      expectIncreasing(pictures.map(({ timeS }) => timeS));
      expect(await warnings(exported)).toBe('');
      await expect(archive.session({ ...request, gaps: 'error' })).rejects.toMatchObject({ code: 'E_GAP' });
    },
  );

  test('from the middle of a GOP of one to the middle of a GOP of the other', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const file = await variantFile('plain');
    const { camera } = await importAll(archive, [file, file], 10);
    const exported = join(folder, 'export.mp4');
    await exportTo(exported, archive, { camera, start: at(9.5), end: at(25.02) });
    const hashes = await picturesOfAll([file]);
    const wanted = [...hashes.slice(Math.floor(9.5 * 25)), ...hashes.slice(0, 76)];
    expect((await picturesOf(exported)).map(({ hash }) => hash)).toEqual(wanted);
    expect(await warnings(exported)).toBe('');
  });
});

describe('sound and picture stay in step', () => {
  test('over many gaps and odd lengths, within a frame everywhere', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const { request, flashes, lengthS } = await importFlashes(archive, 8);
    const exported = join(folder, 'export.mp4');
    const { manifest } = await exportTo(exported, archive, request);
    expect(manifest.delivered).toHaveLength(8);
    const pairs = await avSyncFfmpeg(exported);
    expect(pairs).toHaveLength(flashes);
    for (const { flashTime, beepTime } of pairs)
      expect(Math.abs(flashTime - beepTime)).toBeLessThan(0.0214 / 2 + 0.003);
    const { streams } = await probe(exported);
    for (const { duration } of streams) expect(Math.abs(Number(duration) - lengthS)).toBeLessThan(0.1);
    // Players that ignore the times of sound hear it in step only if it has no hole.
    const sound = await packets(exported, { streams: 'a' });
    sound.slice(1).forEach(({ dts }, i) => expect(dts - (sound[i]?.dts ?? 0)).toBe(1024));
    expect(await warnings(exported)).toBe('');
  });

  test('where one import has no sound', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const silent = await makeMedia('silent.mp4', ['-i', await flashFile(2.6), '-an', '-c:v', 'copy']);
    const files = [await flashFile(2.2), silent, await flashFile(2.2)];
    const exported = join(folder, 'export.mp4');
    const { manifest } = await exportTo(exported, archive, await importAll(archive, files, 5));
    expect(manifest.silentAudioFrames).toBeGreaterThan(100);
    expect((await picturesOf(exported)).map(({ hash }) => hash)).toEqual(await picturesOfAll(files));
    const pairs = await avSyncFfmpeg(exported);
    expect(pairs).toHaveLength(4);
    for (const { flashTime, beepTime } of pairs) expect(Math.abs(flashTime - beepTime)).toBeLessThan(0.02);
  });
});

test('overlapping imports: each sample once, one import after the other', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const files = [await variantFile('plain'), await variantFile('plain')];
  await expect(importAll(archive, files, -4.5)).rejects.toMatchObject({ code: 'E_OVERLAP' });
  await archive.import('door', files[1] ?? '', { start: at(7.5), overlap: 'keep' });
  const exported = join(folder, 'export.mp4');
  await exportTo(exported, archive, { camera: 'door', start: at(-1), end: at(30) });
  expect((await picturesOf(exported)).map(({ hash }) => hash)).toEqual(await picturesOfAll(files));
  const source = await packets(files[0] ?? '', { streams: 'v', hash: true });
  const found = await packets(exported, { streams: 'v', hash: true });
  expect(found.map(({ hash }) => hash)).toEqual([...source, ...source].map(({ hash }) => hash));
  expectIncreasing(found.map(({ dts }) => dts + 1e6));
});

test('imports of different timescales, one encoder: one answer with exact times', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const source = await variantFile('plain');
  const files = [
    source,
    await makeMedia('15360.mp4', ['-i', source, '-c', 'copy', '-video_track_timescale', '15360']),
    await makeMedia('90000.mp4', ['-i', source, '-c', 'copy', '-video_track_timescale', '90000']),
  ];
  const exported = join(folder, 'export.mp4');
  await exportTo(exported, archive, await importAll(archive, files, 3));
  const pictures = await picturesOf(exported);
  expect(pictures.map(({ hash }) => hash)).toEqual(await picturesOfAll(files));
  const within = pictures.slice(1).map(({ timeS }, i) => timeS - (pictures[i]?.timeS ?? 0));
  within.forEach((distance, i) => {
    if ((i + 1) % 300 !== 0) expect(distance).toBeCloseTo(0.04, 4);
  });
});

test('a first import of sound only, then one of picture and sound', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const source = await mediaFile('flash-beep');
  const soundOnly = await makeMedia('sound.m4a', ['-i', source, '-vn', '-c:a', 'copy', '-t', '3.5']);
  const files = [soundOnly, await flashFile(2.2)];
  const exported = join(folder, 'export.mp4');
  await exportTo(exported, archive, await importAll(archive, files, 2));
  const [first] = await picturesOf(exported);
  expect(first?.timeS).toBeGreaterThan(3.4);
  const pairs = await avSyncFfmpeg(exported);
  expect(pairs).toHaveLength(2);
  for (const { flashTime, beepTime } of pairs) expect(Math.abs(flashTime - beepTime)).toBeLessThan(0.02);
});
