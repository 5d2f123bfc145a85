/**
 * Fragmented files in every form FFmpeg makes: the frames are those of the plain file, with the times that ffprobe
 * sees. A file that lost its end is read as far as it is whole.
 */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../src/errors.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame, Track } from '../../src/media.ts';
import { packets } from '../support/ffmpeg.ts';
import { makeMedia } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PLAIN = [
  ...['-f', 'lavfi', '-i', 'testsrc2=size=192x108:rate=25'],
  ...['-f', 'lavfi', '-i', 'sine=frequency=300:sample_rate=48000', '-t', '4'],
  ...['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-bf', '2', '-g', '25', '-c:a', 'aac'],
];

const plainFile = (): Promise<string> => makeMedia('plain.mp4', PLAIN);

/** The same packets, put into fragments. */
async function fragmentedFile(name: string, args: readonly string[]): Promise<string> {
  return makeMedia(name, ['-i', await plainFile(), '-c', 'copy', ...args]);
}

const movflags = (...flags: readonly string[]): string[] => ['-movflags', flags.map((flag) => `+${flag}`).join('')];

const FORMS = {
  base_data_offset: ['base.mp4', movflags('frag_keyframe', 'empty_moov')],
  'default-base-is-moof': ['moof.mp4', movflags('frag_keyframe', 'empty_moov', 'default_base_moof')],
  'no offset in tfhd': ['omit.mp4', movflags('frag_keyframe', 'empty_moov', 'omit_tfhd_offset')],
  'a moof per track': ['separate.mp4', movflags('frag_keyframe', 'empty_moov', 'omit_tfhd_offset', 'separate_moof')],
  'edit lists': ['edits.mp4', movflags('frag_keyframe', 'delay_moov')],
  'negative composition offsets': ['negative.mp4', movflags('frag_keyframe', 'delay_moov', 'negative_cts_offsets')],
  'sidx per fragment': ['dash.mp4', movflags('frag_keyframe', 'delay_moov', 'dash')],
  'one sidx before all': ['sidx.mp4', movflags('frag_keyframe', 'delay_moov', 'default_base_moof', 'global_sidx')],
  CMAF: ['cmaf.mp4', movflags('frag_keyframe', 'cmaf')],
  'cut by time': ['time.mp4', [...movflags('delay_moov', 'default_base_moof'), '-frag_duration', '300000']],
  'several runs per track': ['runs.mp4', [...movflags('frag_keyframe', 'delay_moov'), '-frag_interleave', '2']],
  'samples in moov too': ['hybrid.mp4', movflags('frag_keyframe')],
  'no tfdt, 10 MHz': ['smooth.ismv', ['-f', 'ismv']],
} as const satisfies Record<string, readonly [name: string, args: readonly string[]]>;

interface Contents {
  readonly tracks: readonly Track[];
  readonly frames: readonly Frame[];
  readonly skipped: readonly string[];
}

async function contentsOf(path: string): Promise<Contents> {
  await using file = await openMediaFile(path);
  const frames: Frame[] = [];
  for await (const frame of file.frames()) frames.push(frame);
  return { tracks: file.tracks, frames, skipped: file.skipped };
}

const ofTrack = (index: number, { frames }: Contents): Frame[] => frames.filter(({ track }) => track === index);

/** What no way of writing a file may change. */
const mediaOf = ({ data, sync }: Frame) => ({ sync, md5: createHash('md5').update(data).digest('hex') });

const factsOf = (frame: Frame) => ({ ...frame, ...mediaOf(frame), data: frame.data.length });

/** Times from the first packet on: the writers begin at differing instants, and ffprobe keeps those. */
function relativeTimes(times: readonly { readonly dts: number; readonly pts: number }[]) {
  const { dts: first = 0, pts: firstPts = 0 } = times[0] ?? {};
  return times.map(({ dts, pts }) => ({ dts: dts - first, pts: pts - firstPts }));
}

const timesOf = ({ dts, compositionOffset }: Frame) => ({ dts, pts: dts + compositionOffset });

describe('the frames of a fragmented file are those of the plain one', () => {
  test.each(Object.entries(FORMS))('%s', async (_what, [name, args]) => {
    const path = await fragmentedFile(name, args);
    const [ours, plain, theirs] = [await contentsOf(path), await contentsOf(await plainFile()), await packets(path)];
    expect(ours.skipped).toEqual([]);
    expect(ours.tracks.map(({ codec }) => codec)).toEqual(plain.tracks.map(({ codec }) => codec));
    for (const index of ours.tracks.keys()) {
      expect(ofTrack(index, ours).map(mediaOf)).toEqual(ofTrack(index, plain).map(mediaOf));
      const packetsOfTrack = theirs.filter(({ stream }) => stream === index);
      expect(relativeTimes(ofTrack(index, ours).map(timesOf))).toEqual(relativeTimes(packetsOfTrack));
    }
  });

  // Writers that keep the very times of the plain file: an edit list says what is not presented.
  test.each([
    ['edit lists', FORMS['edit lists']],
    ['sidx per fragment', FORMS['sidx per fragment']],
    ['cut by time', FORMS['cut by time']],
    ['several runs per track', FORMS['several runs per track']],
    // Half of its sound has no length and the decode time of the next frame; ffprobe shows that time twice.
    ['a moof per frame', ['frames.mp4', movflags('frag_every_frame', 'delay_moov', 'default_base_moof')]],
  ] as const)('all times of it: %s', async (_what, form) => {
    const [ours, plain] = [
      await contentsOf(await fragmentedFile(form[0], form[1])),
      await contentsOf(await plainFile()),
    ];
    for (const index of plain.tracks.keys()) {
      expect(ofTrack(index, ours).map(mediaOf)).toEqual(ofTrack(index, plain).map(mediaOf));
      expect(ofTrack(index, ours).map(timesOf)).toEqual(ofTrack(index, plain).map(timesOf));
      const durations = (contents: Contents) => ofTrack(index, contents).map(({ durationTicks }) => durationTicks);
      expect(durations(ours)).toEqual(durations(plain));
    }
  });

  test('segments of HLS behind their init segment, which may come again', async () => {
    const folder = await temporaryFolder();
    const args = ['-f', 'hls', '-hls_segment_type', 'fmp4', '-hls_time', '1', '-hls_playlist_type', 'vod'];
    await run('ffmpeg', ['-v', 'error', '-i', await plainFile(), '-c', 'copy', ...args, join(folder, 's.m3u8')]);
    const init = await readFile(join(folder, 'init.mp4'));
    const segments = await Promise.all([0, 1, 2, 3].map((i) => readFile(join(folder, `s${i}.m4s`))));
    const joined = join(folder, 'joined.mp4');
    await writeFile(joined, Buffer.concat([init, ...segments.slice(0, 2), init, ...segments.slice(2)]));
    const [ours, plain] = [await contentsOf(joined), await contentsOf(await plainFile())];
    for (const index of plain.tracks.keys()) {
      expect(ofTrack(index, ours).map(mediaOf)).toEqual(ofTrack(index, plain).map(mediaOf));
      const relative = (contents: Contents) => relativeTimes(ofTrack(index, contents).map(timesOf));
      expect(relative(ours)).toEqual(relative(plain));
    }
    await writeFile(joined, segments[0] ?? '');
    await expectFailure(joined, 'E_INPUT_UNSUPPORTED', /without its init segment; .*cat INIT/);
    await writeFile(joined, init);
    await expectFailure(joined, 'E_INPUT_TRUNCATED', /an init segment without its media segments/);
  });
});

async function expectFailure(path: string, code: ErrorCode, message: RegExp): Promise<void> {
  await expect(openMediaFile(path)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
}

/** Where the boxes of a type begin at top level. */
function boxStarts(file: Buffer, type: string): number[] {
  const starts: number[] = [];
  for (let at = 0; at < file.length; at += file.readUInt32BE(at)) {
    if (file.toString('latin1', at + 4, at + 8) === type) starts.push(at);
  }
  return starts;
}

const whole = () => fragmentedFile('edits.mp4', movflags('frag_keyframe', 'delay_moov'));

async function cutTo(length: number, append = Buffer.alloc(0)): Promise<string> {
  const path = join(await temporaryFolder(), 'cut.mp4');
  await writeFile(path, Buffer.concat([(await readFile(await whole())).subarray(0, length), append]));
  return path;
}

describe('a file that lost its end', () => {
  test('inside of mdat: every frame that is whole, and how many are not', async () => {
    const file = await readFile(await whole());
    const complete = await contentsOf(await whole());
    const [last = 0] = boxStarts(file, 'mdat').slice(-1);
    const cut = await contentsOf(await cutTo(last + 20_000));
    const [video, audio] = [ofTrack(0, cut), ofTrack(1, cut)];
    for (const [index, frames] of [video, audio].entries()) {
      expect(frames.map(factsOf)).toEqual(ofTrack(index, complete).slice(0, frames.length).map(factsOf));
    }
    // Of the last second of video some, of its sound (which comes behind) nothing.
    expect(video.length).toBeGreaterThan(75);
    expect(video.length).toBeLessThan(100);
    const lost = [100 - video.length, ofTrack(1, complete).length - audio.length];
    expect(lost[1]).toBeGreaterThan(40);
    expect(cut.skipped).toEqual([
      `the last ${lost[0]} samples of track 1 (video), which the file does not hold whole`,
      `the last ${lost[1]} samples of track 2 (audio), which the file does not hold whole`,
      expect.stringMatching(/the end of the file, which is cut off: 'mdat' at byte \d+ should reach to byte/),
    ]);
  });

  test('inside of moof, in its header, in zeros: the fragments before', async () => {
    const file = await readFile(await whole());
    const [last = 0] = boxStarts(file, 'moof').slice(-1);
    const before = await contentsOf(await cutTo(last));
    expect(ofTrack(0, before)).toHaveLength(75);
    expect(before.skipped).toEqual([]);
    const inMoof = await contentsOf(await cutTo(last + 100));
    const inHeader = await contentsOf(await cutTo(last + 5));
    const inZeros = await contentsOf(await cutTo(last, Buffer.alloc(4096)));
    for (const { frames } of [inMoof, inHeader, inZeros])
      expect(frames.map(factsOf)).toEqual(before.frames.map(factsOf));
    expect(inMoof.skipped).toEqual([expect.stringMatching(/which is cut off: 'moof' at byte/)]);
    expect(inHeader.skipped).toEqual([`the last 5 bytes, at byte ${last}, which are no whole box`]);
    expect(inZeros.skipped).toEqual([`the last 4096 bytes, at byte ${last}, which are no whole box`]);
  });

  test('in its first fragment: the samples of moov', async () => {
    const hybrid = await readFile(await fragmentedFile(...FORMS['samples in moov too']));
    const [first = 0] = boxStarts(hybrid, 'moof');
    const path = join(await temporaryFolder(), 'cut.mp4');
    await writeFile(path, hybrid.subarray(0, first + 10));
    const { frames, skipped } = await contentsOf(path);
    expect(frames.filter(({ track }) => track === 0)).toHaveLength(25);
    expect(skipped).toEqual([expect.stringMatching(/which is cut off: 'moof' at byte/)]);
  });

  test('before the first fragment is whole: E_INPUT_TRUNCATED', async () => {
    const [first = 0] = boxStarts(await readFile(await whole()), 'moof');
    await expectFailure(await cutTo(first - 10), 'E_INPUT_TRUNCATED', /'moov' at byte/);
    for (const length of [first, first + 10]) {
      await expectFailure(await cutTo(length), 'E_INPUT_TRUNCATED', /announces fragments and holds no whole one/);
    }
  });
});

describe('files of several recordings', () => {
  test('times that go back, and other codec settings, are E_INPUT_UNSUPPORTED', async () => {
    const path = join(await temporaryFolder(), 'two.mp4');
    const one = await readFile(await fragmentedFile('edits.mp4', movflags('frag_keyframe', 'delay_moov')));
    await writeFile(path, Buffer.concat([one, one]));
    await expectFailure(path, 'E_INPUT_UNSUPPORTED', /decode times .* go back .*ffmpeg -i/);
    const other = await readFile(await fragmentedFile('base.mp4', movflags('frag_keyframe', 'empty_moov')));
    await writeFile(path, Buffer.concat([one, other]));
    await expectFailure(path, 'E_INPUT_UNSUPPORTED', /changes its codec settings/);
  });
});
