/** `footage export` and what may be asked of it: each option as FFmpeg sees its file, and several files for several parts. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { footage } from '../support/command.ts';
import { packets, probe, warnings } from '../support/ffmpeg.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { mediaFile } from '../support/media.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

const CLIP_S = 16;
const startOf = (second: number) => new Date(Date.parse(START) + second * 1000).toISOString();

/** A minute apart: camera `door` the clip twice; `mixed` the clip, H.265 with Opus, the clip; `sound` the clip, and G.711. */
let archive = '';
beforeAll(async () => {
  archive = await sharedTemporaryFolder();
  const other = await mediaFile('h265-opus');
  const files = [
    ['door', 0, CLIP],
    ['door', 60, CLIP],
    ['mixed', 0, CLIP],
    ['mixed', 60, other],
    ['mixed', 120, CLIP],
    ['sound', 0, CLIP],
    ['sound', 60, await mediaFile('h264-alaw')],
  ] as const;
  for (const [camera, second, file] of files) {
    const where = ['--archive', archive, '--camera', camera, '--start', startOf(second)];
    expect((await footage('import', ...where, file)).status).toBe(0);
  }
});

/** Runs an export of so many seconds from START on; the files it leaves are in `folder`. */
async function exporting(camera: string, seconds: number, ...options: readonly string[]) {
  const folder = await temporaryFolder();
  const range = ['--archive', archive, '--camera', camera, '--start', START, '--duration', String(seconds)];
  const outcome = await footage('export', ...range, '-o', join(folder, 'answer.mp4'), ...options);
  return { ...outcome, folder, file: join(folder, 'answer.mp4'), files: (await readdir(folder)).toSorted() };
}

async function kindsOf(file: string): Promise<string[]> {
  const { streams } = await probe(file);
  return streams.map(({ codec_type }) => codec_type);
}

const durationOf = async (file: string) => Number((await probe(file)).format.duration);

describe('one file', () => {
  test.each(['video', 'audio'])('--tracks %s: nothing of the others', async (kind) => {
    const { status, stderr, file } = await exporting('door', CLIP_S, '--tracks', kind);
    expect([status, stderr]).toEqual([0, '']);
    expect(await kindsOf(file)).toEqual([kind]);
    const streams = kind === 'video' ? 'v' : 'a';
    const [own, source] = [await packets(file, { streams, hash: true }), await packets(CLIP, { streams, hash: true })];
    expect(own.map(({ hash }) => hash)).toEqual(source.map(({ hash }) => hash));
  });

  test('--keyframes --speed: the sync samples, so many times as fast', async () => {
    const { status, file } = await exporting('door', CLIP_S, '--keyframes', '--speed', '8');
    expect(status).toBe(0);
    const sync = (await packets(CLIP, { streams: 'v', hash: true })).filter(({ flags }) => flags.startsWith('K'));
    expect(sync.length).toBeGreaterThan(1);
    expect((await packets(file, { hash: true })).map(({ hash }) => hash)).toEqual(sync.map(({ hash }) => hash));
    expect(await durationOf(file)).toBeCloseTo(CLIP_S / 8, 2);
  });

  test('--gaps: joined, or held', async () => {
    const [joined, held] = await Promise.all([
      exporting('door', 76, '--gaps', 'collapse'),
      exporting('door', 76, '--gaps', 'freeze'),
    ]);
    expect(await durationOf(joined.file)).toBeCloseTo(2 * CLIP_S, 1);
    expect(await durationOf(held.file)).toBeCloseTo(76, 1);
    expect(held.stderr).toBe('footage: 44.000 s of the range are not recorded (--json lists them)\n');
  });

  test('--begin: what is before the start is hidden, shown, or left out', async () => {
    const range = ['--archive', archive, '--camera', 'door', '--start', startOf(1.04), '--duration', '8', '--json'];
    const folder = await temporaryFolder();
    const manifests: { hiddenPictures: number; delivered: { startUtcMs: number }[] }[] = [];
    for (const begin of ['exact', 'keyframe', 'next']) {
      const { stdout } = await footage('export', ...range, '--begin', begin, '-o', join(folder, `${begin}.mp4`));
      manifests.push(JSON.parse(stdout) as (typeof manifests)[number]);
    }
    const [exact, keyframe, next] = manifests.map(
      ({ delivered }) => (delivered[0]?.startUtcMs ?? 0) - Date.parse(START),
    );
    expect([exact, keyframe]).toEqual([1040, 0]);
    expect(next).toBeGreaterThan(1040);
    expect(manifests.map(({ hiddenPictures }) => hiddenPictures > 0)).toEqual([true, false, false]);
    expect((await packets(join(folder, 'next.mp4'), { streams: 'v' }))[0]?.flags).toMatch(/^K/);
  });

  test('--changes drop-audio: all the pictures and no sound, where only the sound changes', async () => {
    const { status, file } = await exporting('sound', 70, '--changes', 'drop-audio');
    expect([status, await kindsOf(file), await warnings(file)]).toEqual([0, ['video'], '']);
    expect(await durationOf(file)).toBeCloseTo(CLIP_S + 10, 1);
    const refused = await exporting('mixed', 140, '--changes', 'drop-audio');
    expect([refused.status, refused.files]).toEqual([1, []]);
    expect(refused.stderr).toMatch(/^footage: E_CHANGES: The video changes [^\n]+changes=split[^\n]+\n$/);
  });
});

describe('--changes split', () => {
  test('a file for each part, and a line of JSON', async () => {
    const { status, stdout, stderr, folder, files } = await exporting('mixed', 136, '--changes', 'split', '--json');
    expect([status, files]).toEqual([0, ['answer.1.mp4', 'answer.2.mp4', 'answer.3.mp4']]);
    // What lies in another part is not missing.
    expect(stderr).toBe('footage: 94.000 s of the range are not recorded (--json lists them)\n');
    const printed = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { file: string; lengthBytes: number });
    expect(printed).toMatchObject(
      files.map((file, i) => ({ file: join(folder, file), part: i + 1, parts: 3, policy: { changes: 'split' } })),
    );
    for (const { file, lengthBytes } of printed) {
      expect((await readFile(file)).length).toBe(lengthBytes);
      expect(await warnings(file)).toBe('');
    }
    const codecs = printed.map(async ({ file }) => (await probe(file)).streams.map(({ codec_name }) => codec_name));
    const clip = ['h264', 'aac'];
    expect(await Promise.all(codecs)).toEqual([clip, ['hevc', 'opus'], clip]);
  });

  test('one part is one file, under its own name', async () => {
    const { status, files } = await exporting('door', 76, '--changes', 'split');
    expect([status, files]).toEqual([0, ['answer.mp4']]);
  });

  test('a range without gaps has none, however many parts it takes', async () => {
    const folder = await temporaryFolder();
    const where = ['--archive', join(folder, 'archive'), '--camera', 'door'];
    const other = await mediaFile('h265-opus');
    expect((await footage('import', ...where, '--start', START, CLIP, other)).status).toBe(0);
    const range = ['--start', START, '--duration', '26', '--changes', 'split', '--gaps', 'error'];
    const { status, stderr } = await footage('export', ...where, ...range, '-o', join(folder, 'answer'));
    expect([status, stderr]).toEqual([0, '']);
    expect((await readdir(folder)).toSorted()).toEqual(['answer.1', 'answer.2', 'archive']);
  });
});
