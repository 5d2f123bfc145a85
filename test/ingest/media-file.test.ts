/** Media files as FFmpeg makes them: the frames are the packets that ffprobe sees, and bad files say what is wrong. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import type { ErrorCode } from '../../src/errors.ts';
import type { MediaFile } from '../../src/ingest/media-file.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame } from '../../src/media.ts';
import { packets, probe } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PICTURE = ['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25'];
const SOUND = ['-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000'];
const X264 = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '25'];
const X265 = ['-c:v', 'libx265', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-x265-params', 'log-level=error'];
const AAC = ['-c:a', 'aac'];
const BOTH = [...PICTURE, ...SOUND, '-t', '5', ...X264, ...AAC];

const FILES: Readonly<Record<string, readonly [name: string, args: readonly string[]]>> = {
  'H.264 with B-frames and AAC, moov last': ['plain.mp4', BOTH],
  'H.264 and AAC, moov first': ['faststart.mp4', [...BOTH, '-movflags', '+faststart']],
  'H.264 and AAC in QuickTime': ['plain.mov', BOTH],
  'H.264 in avc3': ['avc3.mp4', [...PICTURE, '-t', '3', ...X264, '-tag:v', 'avc3']],
  'H.265 as hvc1': ['hvc1.mp4', [...PICTURE, ...SOUND, '-t', '3', ...X265, '-tag:v', 'hvc1', ...AAC]],
  'H.265 as hev1': ['hev1.mp4', [...PICTURE, '-t', '3', ...X265, '-tag:v', 'hev1']],
  'video alone': ['video.mp4', [...PICTURE, '-t', '5', ...X264]],
  'negative composition offsets (ctts 1)': ['ctts1.mp4', [...BOTH, '-movflags', '+negative_cts_offsets']],
  'sound alone': ['sound.m4a', [...SOUND, '-t', '5', ...AAC]],
  'two sound tracks': ['two.mp4', [...BOTH, '-map', '0:v', '-map', '1:a', '-map', '1:a']],
  'stereo at 44.1 kHz': ['stereo.m4a', [...SOUND, '-t', '2', '-ar', '44100', '-ac', '2', ...AAC]],
};

async function withFile<T>(path: string, body: (file: MediaFile) => Promise<T>): Promise<T> {
  const file = await openMediaFile(path);
  try {
    return await body(file);
  } finally {
    await file.close();
  }
}

async function collect(file: MediaFile): Promise<Frame[]> {
  const frames: Frame[] = [];
  for await (const frame of file.frames()) frames.push(frame);
  return frames;
}

const describeFrame = (frame: Frame) => ({
  dts: frame.dts,
  pts: frame.dts + frame.compositionOffset,
  size: frame.data.length,
  sync: frame.sync,
  hash: createHash('md5').update(frame.data).digest('hex'),
});

async function expectFailure(path: string, code: ErrorCode, message: RegExp): Promise<void> {
  await expect(openMediaFile(path)).rejects.toMatchObject({
    name: 'FootageError',
    code,
    message: expect.stringMatching(message),
  });
}

/** A copy of a file in which `at` bytes behind the `nth` box type `type` other bytes stand. */
async function patched(
  source: string,
  type: string,
  nth: number,
  at: number,
  bytes: readonly number[],
): Promise<string> {
  const file = await readFile(source);
  let found = file.indexOf(type);
  for (let skip = nth; skip > 0; skip--) found = file.indexOf(type, found + 4);
  expect(found).toBeGreaterThan(0);
  file.set(bytes, found + 4 + at);
  const path = join(await temporaryFolder(), 'patched.mp4');
  await writeFile(path, file);
  return path;
}

describe('frames are the packets that ffprobe sees', () => {
  test.each(Object.entries(FILES))('%s', async (_what, [name, args]) => {
    const path = await makeMedia(name, args);
    const expected = await packets(path, { hash: true });
    await withFile(path, async (file) => {
      const frames = await collect(file);
      for (const [index] of file.tracks.entries()) {
        const ours = frames.filter(({ track }) => track === index).map(describeFrame);
        const packetsOfTrack = expected.filter(({ stream }) => stream === index);
        // With negative offsets FFmpeg moves all DTS back by one constant, so that none is behind its PTS.
        const moved = name === 'ctts1.mp4' ? (ours[0]?.dts ?? 0) - (packetsOfTrack[0]?.dts ?? 0) : 0;
        const theirs = packetsOfTrack.map(({ dts, pts, size, flags, hash }, i) => ({
          dts: dts + moved,
          pts,
          size,
          sync: flags.startsWith('K'),
          // ffprobe prints no hash for a packet with side data (the first one of AAC).
          hash: hash ?? ours[i]?.hash,
        }));
        expect(ours).toEqual(theirs);
      }
    });
  });

  test.each(Object.entries(FILES))('tracks agree with ffprobe: %s', async (_what, [name, args]) => {
    const path = await makeMedia(name, args);
    const { streams, format } = await probe(path);
    await withFile(path, async (file) => {
      const ours = file.tracks.map((track) => ({
        kind: track.kind,
        base: `1/${track.timescale}`,
        entry: track.codec.slice(0, 4),
        width: track.width,
        rate: track.sampleRate?.toString(),
        channels: track.channels,
      }));
      expect(ours).toEqual(
        streams.map((stream) => ({
          kind: stream.codec_type,
          base: stream.time_base,
          entry: stream.codec_tag_string,
          width: stream.width,
          rate: stream.sample_rate,
          channels: stream.channels,
        })),
      );
      expect(Math.abs(file.durationMs / 1000 - Number(format.duration))).toBeLessThan(0.03);
    });
  });
});

describe('the timeline', () => {
  test('frames come by decode time across tracks, with durations', async () => {
    await withFile(await makeMedia('plain.mp4', BOTH), async (file) => {
      const frames = await collect(file);
      const seconds = frames.map(({ dts, track }) => dts / (file.tracks[track]?.timescale ?? 0));
      expect(seconds).toEqual(seconds.toSorted((a, b) => a - b));
      expect(frames.every(({ durationTicks }) => (durationTicks ?? 0) > 0)).toBe(true);
      expect(await collect(file)).toEqual(frames);
    });
  });

  test('the first presented instant is 0 although all tracks begin later', async () => {
    const plain = await makeMedia('plain.mp4', BOTH);
    const late = await makeMedia('late.mp4', [
      '-itsoffset',
      '0.5',
      '-i',
      plain,
      '-c',
      'copy',
      '-movflags',
      '+faststart',
    ]);
    const starts = (await probe(late)).streams.map(({ start_time: start }) => Number(start));
    expect(Math.min(...starts)).toBeGreaterThan(0.4);
    await withFile(late, async (file) => {
      const frames = await collect(file);
      const firstPts = Math.min(
        ...frames
          .filter(({ track }) => file.tracks[track]?.kind === 'video')
          .map(({ dts, compositionOffset }) => dts + compositionOffset),
      );
      const shown = frames.flatMap(({ track, dts, compositionOffset, durationTicks = 0 }) => {
        const pts = dts + compositionOffset;
        return pts + durationTicks > 0 ? [pts / (file.tracks[track]?.timescale ?? 0)] : [];
      });
      expect(Math.max(0, Math.min(...shown))).toBeLessThan(0.001);
      expect(firstPts / (file.tracks[0]?.timescale ?? 0)).toBeLessThan(0.05);
    });
  });

  test('sound that begins before the video keeps its distance', async () => {
    const plain = await makeMedia('plain.mp4', BOTH);
    const args = ['-itsoffset', '0.5', '-i', plain, '-i', plain, '-map', '0:v', '-map', '1:a', '-c', 'copy'];
    await withFile(await makeMedia('sound-first.mp4', args), async (file) => {
      const frames = await collect(file);
      const video = frames.filter(({ track }) => track === 0).map(describeFrame);
      const sound = frames.filter(({ track }) => track === 1).map(describeFrame);
      expect(sound[0]?.pts).toBe(-1024);
      expect(Math.min(...video.map(({ pts }) => pts)) / (file.tracks[0]?.timescale ?? 0)).toBeCloseTo(0.5, 2);
    });
  });

  test('what an edit hides before the start is negative, what it cuts behind the end is not given', async () => {
    const plain = await makeMedia('plain.mp4', BOTH);
    const cut = await makeMedia('cut.mp4', ['-ss', '1.52', '-i', plain, '-t', '2', '-c', 'copy']);
    await withFile(cut, async (file) => {
      const frames = await collect(file);
      const video = frames.filter(({ track }) => track === 0).map(describeFrame);
      expect(video[0]?.sync).toBe(true);
      expect(video[0]?.pts).toBeLessThan(0);
      expect(video.map(({ pts }) => pts)).toContain(0);
      const theirs = (await packets(cut, { streams: 'v' })).map(({ pts }) => pts);
      expect(video.map(({ pts }) => pts)).toEqual(theirs);
    });
  });
});

describe('reading', () => {
  test('frames keep their bytes after the file has been read on and closed', async () => {
    const path = await makeMedia('plain.mp4', BOTH);
    const frames = await withFile(path, collect);
    const hashes = frames.filter(({ track }) => track === 0).map((frame) => describeFrame(frame).hash);
    expect(hashes).toEqual((await packets(path, { hash: true, streams: 'v' })).map(({ hash }) => hash));
  });

  test('a signal ends the frames with its reason', async () => {
    await withFile(await makeMedia('plain.mp4', BOTH), async (file) => {
      const stop = new AbortController();
      const reason = new Error('enough');
      const iterate = async (): Promise<void> => {
        for await (const _frame of file.frames(stop.signal)) stop.abort(reason);
      };
      await expect(iterate()).rejects.toBe(reason);
    });
  });

  test('close is idempotent, and frames after it are E_CLOSED', async () => {
    const file = await openMediaFile(await makeMedia('plain.mp4', BOTH));
    const open = file.frames();
    await open.next();
    await Promise.all([file.close(), file.close()]);
    await file[Symbol.asyncDispose]();
    await expect(file.frames().next()).rejects.toMatchObject({ code: 'E_CLOSED' });
  });

  test('a file that becomes shorter while it is read is E_INPUT_TRUNCATED', async () => {
    const path = join(await temporaryFolder(), 'shrinking.mp4');
    await writeFile(path, await readFile(await makeMedia('plain.mp4', BOTH)));
    await withFile(path, async (file) => {
      await truncate(path, 10_000);
      await expect(collect(file)).rejects.toMatchObject({ code: 'E_INPUT_TRUNCATED' });
    });
  });

  test('tracks that are neither video nor sound are named', async () => {
    const folder = await temporaryFolder();
    const subtitles = join(folder, 'words.srt');
    await writeFile(subtitles, '1\n00:00:00,000 --> 00:00:02,000\nHello\n');
    const plain = await makeMedia('plain.mp4', BOTH);
    const args = ['-i', plain, '-i', subtitles, '-map', '0', '-map', '1', '-c', 'copy', '-c:s', 'mov_text'];
    await withFile(await makeMedia('subtitled.mp4', args), async (file) => {
      expect(file.tracks.map(({ kind }) => kind)).toEqual(['video', 'audio']);
      expect(file.skipped).toEqual(["track 3 of type 'sbtl'"]);
    });
  });
});

describe('what cannot be read fails before the first frame', () => {
  test('no such file, a directory', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'd'));
    await expectFailure(join(folder, 'none.mp4'), 'E_INPUT_MISSING', /none\.mp4: there is no such file/);
    await expectFailure(join(folder, 'd'), 'E_INPUT_MISSING', /not a regular file/);
    await expectFailure('/dev/zero', 'E_INPUT_MISSING', /not a regular file/);
  });

  test.each([
    ['empty', Buffer.alloc(0)],
    ['text', Buffer.from('This is a shopping list: milk, bread, a camera.')],
    ['three bytes', Buffer.from('mp4')],
    ['zeros', Buffer.alloc(4096)],
  ])('%s is E_INPUT_FORMAT, with advice', async (name, bytes) => {
    const path = join(await temporaryFolder(), name);
    await writeFile(path, bytes);
    await expectFailure(path, 'E_INPUT_FORMAT', /are accepted; convert with: ffmpeg -i INPUT/);
  });

  test.each([
    ['plain.mp4', BOTH],
    ['faststart.mp4', [...BOTH, '-movflags', '+faststart']],
  ] as const)('%s cut off anywhere is E_INPUT_TRUNCATED', async (name, args) => {
    const bytes = await readFile(await makeMedia(name, args));
    const path = join(await temporaryFolder(), 'cut.mp4');
    for (const keep of [12, 30, 36, 45, 0.2, 0.5, 0.9, 0.99].map((k) => (k < 1 ? Math.floor(k * bytes.length) : k))) {
      await writeFile(path, bytes.subarray(0, keep));
      await expectFailure(path, 'E_INPUT_TRUNCATED', /cut off/);
    }
    await writeFile(path, bytes.subarray(0, -1));
    await expectFailure(path, 'E_INPUT_TRUNCATED', /cut off/);
  });

  test('500 mutations of the index end with frames or a FootageError', async () => {
    const args = [...PICTURE, ...SOUND, '-t', '2', ...X264, ...AAC, '-movflags', '+faststart'];
    const bytes = new Uint8Array(await readFile(await makeMedia('mutated.mp4', args)));
    const path = join(await temporaryFolder(), 'mutated.mp4');
    const indexEnd = Buffer.from(bytes.buffer).indexOf('mdat');
    const outcomes = { frames: 0, refused: 0 };
    for (let i = 0, state = 0x2013; i < 500; i++) {
      const mutated = new Uint8Array(bytes);
      for (let hit = 0; hit < 3; hit++) {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; // Numerical Recipes' generator
        mutated[(state >>> 8) % indexEnd] = hit === 0 ? 0xff : state >>> 24;
      }
      await writeFile(path, mutated);
      try {
        await withFile(path, collect);
        outcomes.frames += 1;
      } catch (error) {
        expect(error).toBeInstanceOf(FootageError);
        outcomes.refused += 1;
      }
    }
    expect(outcomes.frames).toBeGreaterThan(50);
    expect(outcomes.refused).toBeGreaterThan(50);
  });

  test('edit lists that are more than a start', async () => {
    const plain = await makeMedia('faststart.mp4', [...BOTH, '-movflags', '+faststart']);
    const late = await makeMedia('late.mp4', [
      '-itsoffset',
      '0.5',
      '-i',
      plain,
      '-c',
      'copy',
      '-movflags',
      '+faststart',
    ]);
    const slow = await patched(plain, 'elst', 0, 16, [0, 0, 0x80, 0]);
    await expectFailure(slow, 'E_INPUT_UNSUPPORTED', /0\.5 times its speed \(edit list\).*ffmpeg/);
    const nothing = await patched(plain, 'elst', 0, 12, [255, 255, 255, 255]);
    await expectFailure(nothing, 'E_INPUT_UNSUPPORTED', /presents nothing/);
    const behindTheEnd = await patched(plain, 'elst', 0, 12, [0x7f, 0, 0, 0]);
    await expectFailure(behindTheEnd, 'E_INPUT_UNSUPPORTED', /presents nothing/);
    const two = await patched(late, 'elst', 0, 12, [0, 0, 0, 0]);
    await expectFailure(two, 'E_INPUT_UNSUPPORTED', /more than one edit/);
  });

  test('no sync sample, no track that is video or sound', async () => {
    const video = await makeMedia('video-first.mp4', [...PICTURE, '-t', '2', ...X264, '-movflags', '+faststart']);
    const noSync = await patched(video, 'stss', 0, 4, [0, 0, 0, 0]);
    await expectFailure(noSync, 'E_INPUT_UNSUPPORTED', /no sync sample/);
    const noTrack = await patched(video, 'vide', 0, -4, [...Buffer.from('tmcd')]);
    await expectFailure(noTrack, 'E_INPUT_FORMAT', /no video and no audio samples/);
  });

  test.each([
    ['prores.mov', ['-c:v', 'prores_ks'], /ProRes 422 HQ \('apch'\).*convert with: ffmpeg/],
    ['part2.mp4', ['-c:v', 'mpeg4'], /MPEG-4 Part 2 \('mp4v'\)/],
    ['mjpeg.mov', ['-c:v', 'mjpeg', '-pix_fmt', 'yuvj420p'], /Motion JPEG \('jpeg'\)/],
  ] as const)('%s names its codec', async (name, args, message) => {
    await expectFailure(await makeMedia(name, [...PICTURE, '-t', '1', ...args]), 'E_INPUT_UNSUPPORTED', message);
  });

  test.each([
    ['mp3.mp4', ['-c:a', 'libmp3lame'], /MP3/],
    ['alac.m4a', ['-c:a', 'alac'], /Apple Lossless \('alac'\)/],
    ['pcm.mov', ['-c:a', 'pcm_s16le'], /PCM \('sowt'\)/],
  ] as const)('%s names its codec', async (name, args, message) => {
    await expectFailure(await makeMedia(name, [...SOUND, '-t', '1', ...args]), 'E_INPUT_UNSUPPORTED', message);
  });
});
