/**
 * Footage whose configuration changes inside a range, and ranges of which only a part is wanted: one file where one file
 * can hold it, and nothing in it that was left out.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import type { SessionRequest } from '../../src/archive.ts';
import {
  AAC,
  at,
  decode,
  exportTo,
  flashFile,
  picturesOf,
  tone,
  variantFile,
  video,
  withArchiveServer,
  X264,
  X265,
} from '../support/acceptance.ts';
import { playInChromium } from '../support/chromium.ts';
import { avSyncFfmpeg, packets as packetsOf, run, warnings } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { temporaryFolder } from '../support/tmp.ts';

const FRAME_S = 0.04;
/** Ticks per second of the sources' video and audio. */
const TIMESCALES = [12_800, 48_000] as const;

async function packets(file: string, options = {}) {
  const found = await packetsOf(file, options);
  return found.map(({ position = 0, flags, ...packet }) => {
    const ptsTime = packet.pts / (TIMESCALES[packet.stream] ?? 1);
    return { ...packet, position, ptsTime, key: flags.startsWith('K') };
  });
}

interface Fixture {
  readonly folder: string;
  readonly archive: Archive;
}

/** Imports the files, each `stepS` after the one before, and gives the range that holds them all. */
async function importEach(archive: Archive, files: readonly string[], stepS: number): Promise<SessionRequest> {
  for (const [i, file] of files.entries()) {
    await archive.import('door', file, { start: at(i * stepS), recorder: { segmentDurationMs: 2000 } });
  }
  return { camera: 'door', start: at(0), end: at(files.length * stepS) };
}

async function fixture(): Promise<Fixture & AsyncDisposable> {
  const folder = await temporaryFolder();
  const archive = await openArchive(join(folder, 'archive'));
  return { folder, archive, [Symbol.asyncDispose]: () => archive.close() };
}

const sized = (name: string, size: string, codec: readonly string[]) =>
  makeMedia(name, [...video(), ...tone(), '-t', '3', '-s', size, ...codec, ...AAC]);

const H265 = [...X265, '-x265-params', 'log-level=error:bframes=2:keyint=25:min-keyint=25'];
const AV1 = ['-c:v', 'libsvtav1', '-preset', '12', '-g', '25', '-svtav1-params', 'fast-decode=1'];

/** Decodes from a place on, as a player that seeks; what FFmpeg complains about. */
async function warningsBehind(file: string, seconds: number): Promise<string> {
  const args = ['-v', 'warning', '-nostdin', '-ss', String(seconds), '-i', file, '-frames:v', '30', '-f', 'null', '-'];
  const { stderr } = await run('ffmpeg', args);
  return stderr;
}

describe('pictures of two sizes are one file, in which every sync sample brings its parameter sets', () => {
  test.each([
    ['H.264', X264],
    ['H.265', H265],
    ['AV1', AV1],
  ] as const)('%s', async (codec, args) => {
    await using made = await fixture();
    const { archive, folder } = made;
    const files = await Promise.all(['320x180', '160x90'].map((size) => sized(`${codec}-${size}.mp4`, size, args)));
    const exported = join(folder, 'export.mp4');
    const { manifest } = await exportTo(exported, archive, await importEach(archive, files, 4));
    expect(manifest).toMatchObject({ insertedParameterSets: true, parts: 1 });
    expect(await picturesOf(exported)).toHaveLength(150);
    expect(await warnings(exported)).toBe('');
    for (const seconds of [3.9, 0.5, 3.04, 2]) expect(await warningsBehind(exported, seconds), `${seconds}`).toBe('');
    await expectSamePayloads(exported, files);
  });

  test('Chromium plays them to the end and seeks over the change', { retry: 3 }, async () => {
    await using made = await fixture();
    const files = await Promise.all(['320x180', '160x90'].map((size) => sized(`H.264-${size}.mp4`, size, X264)));
    await importEach(made.archive, files, 4);
    await withArchiveServer(made.archive, async (base) => {
      const url = `${base}/api/cameras/door/export.mp4?start=${at(0).toISOString()}&duration=8`;
      const playback = await playInChromium(url, { seekTo: [4.02, 1.5, 3.6] });
      expect(playback.errors).toEqual([]);
      expect(playback.ended).toBe(true);
      expect(playback.decodedFrames).toBeGreaterThanOrEqual(149);
      for (const { target, mediaTime } of playback.seeks)
        expect(Math.abs((mediaTime ?? -1) - target)).toBeLessThan(FRAME_S);
    });
  });
});

/** Each packet ends with the source's: what stands in front of it are parameter sets, of sync samples alone. */
async function expectSamePayloads(exported: string, files: readonly string[]): Promise<void> {
  const found = (await packets(exported)).filter(({ stream }) => stream === 0);
  const sources = (await Promise.all(files.map((file) => packets(file)))).flat().filter(({ stream }) => stream === 0);
  expect(found).toHaveLength(sources.length);
  const bytes = await readFile(exported);
  const originals = await Promise.all(files.map((file) => readFile(file)));
  const perFile = sources.length / files.length;
  found.forEach((packet, i) => {
    const source = sources[i];
    if (source === undefined) return;
    const payload = originals[Math.floor(i / perFile)]?.subarray(source.position, source.position + source.size);
    const end = packet.position + packet.size;
    expect(bytes.subarray(end - source.size, end).equals(payload ?? Buffer.alloc(0)), `packet ${i}`).toBe(true);
    if (packet.key) expect(packet.size).toBeGreaterThan(source.size);
    else expect(packet.size).toBe(source.size);
  });
}

describe('a change that one file cannot hold', () => {
  const cases = [
    ['video codec', () => variantFile('H.265'), 'E_CHANGES'],
    ['sample rate', () => variantFile('audio 44.1 kHz'), undefined],
  ] as const;

  test.each(cases)('%s: is refused, or split, or goes without sound', async (_what, changed, withoutSound) => {
    await using made = await fixture();
    const { archive, folder } = made;
    const files = [await variantFile('plain'), await changed()];
    const request = await importEach(archive, files, 14);
    await expect(archive.session(request)).rejects.toMatchObject({ code: 'E_CHANGES', httpStatus: 409 });
    for (const [i, file] of files.entries()) {
      const exported = join(folder, `${i}.mp4`);
      const { manifest } = await exportTo(exported, archive, { ...request, changes: 'split', part: i + 1 });
      expect(manifest).toMatchObject({ part: i + 1, parts: 2 });
      expect(await picturesOf(exported)).toEqual(await picturesOf(file));
    }
    const third = archive.session({ ...request, changes: 'split', part: 3 });
    await expect(third).rejects.toMatchObject({ code: 'E_RANGE_EMPTY' });
    const silent = archive.session({ ...request, changes: 'drop-audio' });
    if (withoutSound !== undefined) return expect(silent).rejects.toMatchObject({ code: withoutSound });
    const { manifest } = await silent;
    const exported = join(folder, 'silent.mp4');
    await exportTo(exported, archive, { ...request, changes: 'drop-audio' });
    for (const file of files) await expectAbsent(exported, file, ({ stream }) => stream === 1);
    expect(manifest).toMatchObject({ codecs: [expect.stringMatching(/^avc1/)], omittedCodecs: ['mp4a.40.2'] });
  });
});

describe('a gap that is held', () => {
  test('picture and sound stay in step, and the file is as long as the range', async () => {
    await using made = await fixture();
    const files = await Promise.all([2.2, 2.2, 2.2].map(flashFile));
    const request = await importEach(made.archive, files, 5.5);
    const exported = join(made.folder, 'frozen.mp4');
    const { manifest } = await exportTo(exported, made.archive, { ...request, gaps: 'freeze' });
    expect(manifest.silentAudioFrames).toBeGreaterThan(2 * 150);
    expect(await warnings(exported)).toBe('');
    const times = (await picturesOf(exported)).map(({ timeS }) => timeS);
    for (const i of [1, 2]) {
      const second = times.find((time) => time > i * 5.5 - 0.02);
      expect(Math.abs((second ?? 0) - i * 5.5)).toBeLessThan(0.001);
    }
    const pairs = await avSyncFfmpeg(exported);
    expect(pairs).toHaveLength(6);
    for (const { flashTime, beepTime } of pairs) expect(Math.abs(flashTime - beepTime)).toBeLessThan(0.025);
  });

  test('of sound alone is refused as well', async () => {
    await using made = await fixture();
    const sound = await makeMedia('sound.m4a', [...tone(), '-t', '3', ...AAC]);
    const request = await importEach(made.archive, [sound, sound], 14 * 3600);
    await expect(made.archive.session({ ...request, gaps: 'freeze' })).rejects.toMatchObject({ code: 'E_GAP' });
  });

  test('for longer than MP4 can say is refused', async () => {
    await using made = await fixture();
    const source = await variantFile('plain');
    const fine = await makeMedia('fine.mp4', [
      '-i',
      source,
      '-c',
      'copy',
      '-t',
      '3',
      '-video_track_timescale',
      '90000',
    ]);
    const request = await importEach(made.archive, [fine, fine], 14 * 3600);
    const frozen = made.archive.session({ ...request, gaps: 'freeze' });
    await expect(frozen).rejects.toMatchObject({ code: 'E_GAP', message: expect.stringContaining('gaps=collapse') });
  });
});

describe('what is left out is not in the file', () => {
  test.each([
    ['video', 1],
    ['audio', 0],
  ] as const)('tracks=%s', async (tracks, omitted) => {
    await using made = await fixture();
    const source = await variantFile('plain');
    const request = { ...(await importEach(made.archive, [source], 12)), start: at(3.3), tracks };
    const exported = join(made.folder, 'one.mp4');
    const { manifest } = await exportTo(exported, made.archive, request);
    expect(manifest.codecs).toHaveLength(1);
    expect(await warnings(exported)).toBe('');
    await expectAbsent(exported, source, (packet) => packet.stream === omitted);
    const both = join(made.folder, 'both.mp4');
    await exportTo(both, made.archive, { ...request, tracks: undefined as never });
    const kept = (await packets(both, { hash: true })).filter(({ stream }) => stream !== omitted);
    const found = (await packets(exported, { hash: true })).map(({ hash }) => hash);
    // Alone, sound is cut at the borders of its own frames: at most one less than where pictures are cut.
    // (FFmpeg shows no hash of a packet with side data, such as the first.)
    const first = kept.findIndex(({ hash }) => hash === found[1]) - 1;
    expect(first).toBeLessThanOrEqual(tracks === 'video' ? 0 : 1);
    expect(found.slice(1)).toEqual(kept.slice(first + 1).map(({ hash }) => hash));
  });

  test('keyframes: each sync sample until the next, ten times as fast', async () => {
    await using made = await fixture();
    const source = await variantFile('plain');
    const request = await importEach(made.archive, [source, source], 14);
    const exported = join(made.folder, 'lapse.mp4');
    await exportTo(exported, made.archive, { ...request, keyframes: true, speed: 10 });
    const keys = (await packets(source)).filter(({ stream, key }) => stream === 0 && key).map(({ ptsTime }) => ptsTime);
    const expected = [...keys, ...keys.map((time) => time + 12)].map((time) => time / 10);
    const found = (await picturesOf(exported)).map(({ timeS }) => timeS);
    expect(found).toHaveLength(expected.length);
    found.forEach((time, i) => expect(time).toBeCloseTo(expected[i] ?? -1, 4));
    expect(await warnings(exported)).toBe('');
    await expectAbsent(exported, source, ({ stream, key }) => stream === 1 || !key);
  });

  test('begin=next: nothing that was recorded before the next sync sample', async () => {
    await using made = await fixture();
    const source = await variantFile('plain');
    const request = { ...(await importEach(made.archive, [source], 12)), start: at(3.3), begin: 'next' } as const;
    const exported = join(made.folder, 'next.mp4');
    const { manifest } = await exportTo(exported, made.archive, request);
    expect(manifest.hiddenPictures).toBe(0);
    await expectAbsent(exported, source, ({ ptsTime }) => ptsTime < 3.99);
    const { pictures, messages } = await decode(exported, 48_000);
    expect([pictures.length, messages]).toEqual([200, '']);
  });

  test('begin=keyframe: the lead-in is shown', async () => {
    await using made = await fixture();
    const request = await importEach(made.archive, [await variantFile('plain')], 12);
    const exported = join(made.folder, 'keyframe.mp4');
    const { manifest } = await exportTo(exported, made.archive, { ...request, start: at(3.3), begin: 'keyframe' });
    expect(manifest.hiddenPictures).toBe(0);
    expect(manifest.delivered[0]?.startUtcMs).toBe(at(2).getTime());
    expect(await picturesOf(exported)).toHaveLength(250);
  });
});

type Packet = Awaited<ReturnType<typeof packets>>[number];

/** None of the source's packets that are told is anywhere in the file. */
async function expectAbsent(exported: string, source: string, isLeftOut: (packet: Packet) => boolean): Promise<void> {
  const [bytes, original] = [await readFile(exported), await readFile(source)];
  const all = await packets(source, { hash: true });
  // A steady tone may give the same bytes twice: only those are told apart that nothing wanted has too.
  const kept = new Set(all.filter((packet) => !isLeftOut(packet)).map(({ hash }) => hash));
  const left = all.filter((packet) => isLeftOut(packet) && packet.size >= 24 && !kept.has(packet.hash));
  expect(left.length).toBeGreaterThan(20);
  const found = left.filter(({ position, size }) => bytes.includes(original.subarray(position, position + size)));
  expect(found).toEqual([]);
}
