/** Files that we do not read ourselves, through ffmpeg: the same packets, and nothing is left in the folder, whatever happens. */
import { createHash } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import { checkAnyMediaFile, openAnyMediaFile } from '../../src/ingest/converted-file.ts';
import type { MediaFile } from '../../src/ingest/media-file.ts';
import type { Frame } from '../../src/media.ts';
import { footage } from '../support/command.ts';
import { packets } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PICTURES = ['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25'];
const BOTH = [...PICTURES, '-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000', '-t', '3'];
const H264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-g', '25'];
const B_FRAMES = [...H264, '-bf', '2'];
const H265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=error:bframes=2:keyint=25'];
const AAC = ['-c:a', 'aac'];
const VP9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-frames:v', '3', '-an'];

/** The plain file has the packets that the others take from it. */
const plain = (codec: readonly string[]) => makeMedia('plain.mp4', [...BOTH, ...codec, ...AAC]);
const copied = async (name: string, codec: readonly string[]) =>
  makeMedia(name, ['-i', await plain(codec), '-c', 'copy']);

const signal = () => new AbortController().signal;
const md5 = (bytes: Uint8Array): string => createHash('md5').update(bytes).digest('hex');

async function framesOf(file: MediaFile): Promise<Frame[]> {
  const frames: Frame[] = [];
  for await (const frame of file.frames()) frames.push(frame);
  return frames;
}

async function failure(promise: Promise<unknown>): Promise<FootageError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof FootageError) return error;
  throw new Error('no FootageError', { cause: error });
}

/** Media in ms from the first picture on, as presented. */
function timesMs(frames: readonly Frame[], timescale: number): number[] {
  const times = frames.map(({ dts, compositionOffset }) => ((dts + compositionOffset) * 1000) / timescale);
  return times.map((time) => time - (times[0] ?? 0));
}

describe.each([
  ['Matroska with B-frames', 'a.mkv', B_FRAMES],
  ['MPEG-TS with B-frames', 'a.ts', B_FRAMES],
  ['MPEG-TS with H.265', 'a.ts', H265],
  ['FLV with B-frames', 'a.flv', B_FRAMES],
  ['AVI', 'a.avi', [...H264, '-bf', '0']],
] as const)('%s', (_what, name, codec) => {
  test('has the packets of its source, at their times', async () => {
    const folder = await temporaryFolder();
    await using file = await openAnyMediaFile(await copied(name, codec), folder, signal());
    expect(await readdir(folder)).toEqual([]);
    expect(file.skipped).toEqual([]);
    expect(file.tracks.map(({ kind }) => kind)).toEqual(['video', 'audio']);
    const frames = await framesOf(file);
    const [pictures, sounds] = [0, 1].map((index) => frames.filter(({ track }) => track === index));
    const theirs = await packets(await plain(codec), { hash: true, streams: 'v' });
    expect(pictures?.length).toBe(theirs.length);
    const setsAreInside = /ts$|avi$/.test(name);
    // MPEG-TS and AVI have parameter sets in their pictures.
    if (!setsAreInside) expect(pictures?.map(({ data }) => md5(data))).toEqual(theirs.map(({ hash }) => hash));
    expect(pictures?.map(({ sync }) => sync)).toEqual(theirs.map(({ flags }) => flags[0] === 'K'));
    const ours = timesMs(pictures ?? [], file.tracks[0]?.timescale ?? 1);
    const wrong = theirs.map(({ pts }, i) => Math.abs((ours[i] ?? 0) - (pts - (theirs[0]?.pts ?? 0)) / 12.8));
    // FFmpeg's AVI has its first picture twice.
    expect(Math.max(...wrong)).toBeLessThanOrEqual(name.endsWith('.avi') ? 40.01 : 1.01);
    const sound = await packets(await plain(codec), { hash: true, streams: 'a' });
    // ffprobe tells no hash of the priming.
    expect(sounds?.length).toBe(sound.length);
    expect(sounds?.slice(1).map(({ data }) => md5(data))).toEqual(sound.slice(1).map(({ hash }) => hash));
  });
});

describe('sound that cannot be kept', () => {
  test.each([
    ['flac', 'flac', 'a.mkv'],
    ['pcm_s16le', 'pcm_s16le', 'a.mkv'],
    ['mp2', 'mp2', 'a.ts'],
  ])('%s becomes AAC, and that is told', async (encoder, codec, name) => {
    const path = await makeMedia(name, [...BOTH, ...H264, '-c:a', encoder]);
    await using file = await openAnyMediaFile(path, await temporaryFolder(), signal());
    expect(file.tracks[1]).toMatchObject({ codec: 'mp4a.40.2', sampleRate: 48_000 });
    expect(file.skipped).toEqual([`its sound (${codec}) as it is: it becomes AAC`]);
    const sounds = (await framesOf(file)).filter(({ track }) => track === 1);
    expect(sounds.length).toBeGreaterThan(140);
  });

  test('G.711 is kept beside H.264, and becomes AAC beside what QuickTime does not hold', async () => {
    const alaw = ['-c:a', 'pcm_alaw', '-ar', '8000'];
    const folder = await temporaryFolder();
    await using kept = await openAnyMediaFile(await makeMedia('a.mkv', [...BOTH, ...H264, ...alaw]), folder, signal());
    expect(kept.tracks[1]?.codec).toBe('alaw');
    expect(kept.skipped).toEqual([]);
    const av1 = ['-c:v', 'libsvtav1', '-preset', '12', '-pix_fmt', 'yuv420p'];
    await using other = await openAnyMediaFile(await makeMedia('b.mkv', [...BOTH, ...av1, ...alaw]), folder, signal());
    expect(other.tracks.map(({ codec }) => codec.slice(0, 4))).toEqual(['av01', 'mp4a']);
    expect(other.skipped).toEqual(['its sound (pcm_alaw) as it is: it becomes AAC']);
  });
});

test('the picture on a cover is none of the film', async () => {
  const cover = await makeMedia('cover.png', ['-f', 'lavfi', '-i', 'testsrc2=size=64x64', '-frames:v', '1']);
  const film = await copied('a.mkv', H264);
  const attach = ['-attach', cover, '-metadata:s:t', 'mimetype=image/png', '-metadata:s:t', 'filename=cover.png'];
  const path = await makeMedia('covered.mkv', ['-i', film, '-map', '0', '-c', 'copy', ...attach]);
  await using file = await openAnyMediaFile(path, await temporaryFolder(), signal());
  expect(file.tracks.map(({ kind }) => kind)).toEqual(['video', 'audio']);
});

describe('what is refused', () => {
  test('VP9, in words', async () => {
    const path = await makeMedia('a.mkv', [...BOTH, ...VP9]);
    const folder = await temporaryFolder();
    const error = await failure(openAnyMediaFile(path, folder, signal()));
    expect(error).toMatchObject({
      code: 'E_INPUT_UNSUPPORTED',
      message: /a\.mkv has vp9 video, which is not recorded/,
    });
    expect((await failure(checkAnyMediaFile(path, signal()))).code).toBe('E_INPUT_UNSUPPORTED');
    expect(await readdir(folder)).toEqual([]);
  });

  test('B-frames without times, which would be shown in a wrong order', async () => {
    const folder = await temporaryFolder();
    const error = await failure(openAnyMediaFile(await copied('b.avi', B_FRAMES), folder, signal()));
    expect(error).toMatchObject({
      code: 'E_INPUT_UNSUPPORTED',
      message: /does not tell when its pictures are presented/,
    });
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    ['garbage', Buffer.from('no media at all, '.repeat(500))],
    ['nothing', Buffer.alloc(0)],
    ['the beginning of a Matroska file', Buffer.from('1a45dfa3a3428681', 'hex')],
  ])('%s', async (_what, bytes) => {
    const folder = await temporaryFolder();
    const path = join(await temporaryFolder(), 'x.mkv');
    await writeFile(path, bytes);
    const error = await failure(openAnyMediaFile(path, folder, signal()));
    expect(error.code).toMatch(/^E_INPUT_(?:FORMAT|TRUNCATED|UNSUPPORTED)$/);
    expect(error.message).not.toContain('/proc/');
    expect(await failure(checkAnyMediaFile(path, signal()))).toMatchObject({ code: error.code });
    expect(await readdir(folder)).toEqual([]);
  });

  test('a file that is not there, and a folder that is not', async () => {
    const folder = await temporaryFolder();
    expect((await failure(openAnyMediaFile(join(folder, 'x.mkv'), folder, signal()))).code).toBe('E_INPUT_MISSING');
    const missing = join(folder, 'missing');
    expect((await failure(openAnyMediaFile(await copied('a.mkv', H264), missing, signal()))).code).toBe('E_IO');
  });
});

test('half a Matroska file is read as far as it goes', async () => {
  const whole = await readFile(await copied('a.mkv', H264));
  const path = join(await temporaryFolder(), 'half.mkv');
  await writeFile(path, whole.subarray(0, whole.length / 2));
  await using file = await openAnyMediaFile(path, await temporaryFolder(), signal());
  const frames = await framesOf(file);
  expect(frames.length).toBeGreaterThan(40);
  expect(frames.length).toBeLessThan(180);
});

test('a conversion that is given up leaves nothing', async () => {
  const folder = await temporaryFolder();
  const path = await makeMedia('long.mkv', [...BOTH, ...H264, '-c:a', 'flac']);
  for (const afterMs of [0, 30, 60, 100, 150]) {
    const giveUp = new AbortController();
    const opening = openAnyMediaFile(path, folder, giveUp.signal);
    setTimeout(() => giveUp.abort(new Error('enough')), afterMs);
    const file = await opening.catch((error: unknown) => error);
    if (file instanceof Error) expect(file.message).toBe('enough');
    else await (file as MediaFile).close();
    expect(await readdir(folder)).toEqual([]);
  }
});

test('footage import takes it', async () => {
  const archive = join(await temporaryFolder(), 'archive');
  const where = ['--archive', archive, '--camera', 'door', '--start', '2026-01-31T12:00:00Z'];
  const imported = await footage('import', ...where, await copied('a.mkv', B_FRAMES));
  expect(imported).toMatchObject({ status: 0, stderr: '' });
  const output = join(archive, '..', 'out.mp4');
  expect(await footage('export', ...where, '--duration', '2', '-o', output)).toMatchObject({ status: 0 });
  expect((await packets(output, { streams: 'v' })).filter(({ flags }) => flags[1] !== 'D').length).toBe(50);
  const refused = await footage('import', ...where, '--overlap', 'keep', await makeMedia('a.mkv', [...BOTH, ...VP9]));
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringMatching(/vp9 video, which is not recorded/) });
  expect((await readdir(archive)).filter((name) => name.startsWith('.converting'))).toEqual([]);
});
