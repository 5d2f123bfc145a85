/** A camera that is recorded when it is asked for: what goes first, what comes behind, and that nothing lies between. */
import { describe, expect, test } from 'vitest';
import type { Frame, Track } from '../../src/media.ts';
import { makeMedia } from '../support/media.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import {
  archives,
  connected,
  from,
  gapsOf,
  hashes,
  hashesOf,
  material,
  type Recorded,
  recorded,
  statesOf,
  until,
} from './support.ts';

const open = archives();
const footage = material();
const ON_DEMAND = { record: 'on-demand' } as const;

/** Frames of the footage between two seconds; `pictures` of what is recorded is compared with those of what was given. */
function between(fromS: number, toS: number): Frame[] {
  const { frames, tracks } = footage();
  const behind = new Set(from(frames, tracks, toS));
  return from(frames, tracks, fromS).filter((frame) => !behind.has(frame));
}

const pictures = (frames: readonly Recorded[]) => hashesOf(frames, 0);
const picturesBetween = (fromS: number, toS: number) => hashes(between(fromS, toS), 0);

describe.concurrent('on demand', () => {
  test('nothing is recorded before it is asked for, and then from the next sync sample on', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() }, ON_DEMAND);
    source.connection.giveUpTo(3);
    await until(() => source.connection.frames.bytes === 0);
    expect(camera.health()).toMatchObject({ wanted: false, recording: false, preEvent: null });
    camera.startRecording();
    expect(camera.health()).toMatchObject({ wanted: true, recording: false });
    source.connection.giveUpTo(7);
    await until(() => camera.health().recording);
    camera.stopRecording();
    expect(camera.health().wanted).toBe(false);
    source.connection.giveUpTo(9);
    await until(() => told.some(([event, value]) => event === 'recording' && !value));
    await camera.close();
    expect(pictures(await recorded(archive))).toEqual(picturesBetween(4, 8));
    expect(gapsOf(told)).toEqual([]);
  });

  test('begins at a sync sample at least the pre-event time before', async () => {
    await using archive = await open();
    const { camera, source } = await connected(archive, { footage: footage() }, { ...ON_DEMAND, preEventMs: 2000 });
    source.connection.giveUpTo(9);
    await until(() => (camera.health().preEvent?.heldMs ?? 0) >= 2900);
    expect(camera.health().preEvent).toMatchObject({ overflows: 0 });
    expect(camera.health().preEvent?.heldMs).toBeCloseTo(2960, 0);
    camera.startRecording();
    await until(() => camera.health().recording);
    expect(camera.health().preEvent).toMatchObject({ heldMs: 0, bytes: 0 });
    source.connection.giveUpTo(11);
    await until(() => source.connection.frames.bytes === 0);
    await camera.close();
    const frames = await recorded(archive);
    expect(pictures(frames)).toEqual(picturesBetween(6, 11));
    expect(hashesOf(frames, 1)).toEqual(hashes(between(6, 11), 1));
  });

  test('the post-event time goes on, and to the next sync sample', async () => {
    await using archive = await open();
    const options = { ...ON_DEMAND, preEventMs: 1000, postEventMs: 1000 };
    const { camera, source, told } = await connected(archive, { footage: footage() }, options);
    source.connection.giveUpTo(4);
    await until(() => camera.health().preEvent?.bytes);
    camera.startRecording();
    camera.stopRecording();
    expect(camera.health().wanted).toBe(true);
    source.connection.giveUpTo(7);
    await until(() => source.connection.frames.bytes === 0);
    await until(() => !camera.health().wanted);
    source.connection.giveUpTo(12);
    await until(() => told.some(([event, value]) => event === 'recording' && !value));
    await camera.close();
    expect(pictures(await recorded(archive))).toEqual(picturesBetween(2, 8));
  });

  test('forMs ends it, and never sooner than what was asked for before', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() }, ON_DEMAND);
    camera.startRecording({ forMs: 2000 });
    camera.startRecording({ forMs: 10 });
    source.connection.giveUpTo(4);
    await until(() => camera.health().recording);
    expect(camera.health().wanted).toBe(true);
    await until(() => !camera.health().wanted);
    source.connection.giveUpTo(8);
    await until(() => told.some(([event, value]) => event === 'recording' && !value));
    camera.startRecording();
    camera.startRecording({ forMs: 1 });
    source.connection.giveUpTo(12);
    await until(() => camera.health().recording);
    expect(camera.health().wanted).toBe(true);
    await camera.close();
    expect(pictures(await recorded(archive))).toEqual([...picturesBetween(0, 4), ...picturesBetween(8, 12)]);
    expect(gapsOf(told)).toEqual([]);
  });

  test('start, stop and start at once go on with one recording; a stop while it is off is none', async () => {
    await using archive = await open();
    const { camera, source, told } = await connected(archive, { footage: footage() }, ON_DEMAND);
    camera.stopRecording();
    camera.startRecording();
    camera.startRecording();
    source.connection.giveUpTo(3);
    await until(() => camera.health().recording);
    camera.stopRecording();
    camera.startRecording();
    source.connection.giveUpTo(9);
    await until(() => source.connection.frames.bytes === 0);
    await camera.close();
    expect(pictures(await recorded(archive))).toEqual(picturesBetween(0, 9));
    expect(told.filter(([event, value]) => event === 'recording' && value)).toHaveLength(1);
  });

  test('stopped over a sync sample and started again, with frames held: nothing is lost or recorded twice', async () => {
    await using archive = await open();
    const options = { ...ON_DEMAND, preEventMs: 1000 };
    const { camera, source, told } = await connected(archive, { footage: footage() }, options);
    for (let second = 1; second <= 19; second += 2) {
      camera.startRecording();
      source.connection.giveUpTo(second);
      await until(() => source.connection.frames.bytes === 0);
      camera.stopRecording();
      // The next sync sample ends it, while it may still be beginning.
      source.connection.giveUpTo(second + 1.2);
      await until(() => source.connection.frames.bytes === 0);
    }
    camera.startRecording();
    await camera.close();
    const frames = await recorded(archive);
    expect(pictures(frames)).toEqual(picturesBetween(0, 20));
    expect(hashesOf(frames, 1)).toEqual(hashes(between(0, 20), 1));
    expect((await archive.timeline('door')).gaps).toEqual([]);
    expect(gapsOf(told)).toEqual([]);
    expect(camera.health().lostFrames).toBe(0);
  });

  test('the buffer is bounded: one group that is too large is dropped, and counted over reconnects', async () => {
    await using archive = await open();
    const options = { ...ON_DEMAND, preEventMs: 10_000, preEventBytes: 65_536 };
    const { camera, source } = await connected(archive, { footage: footage() }, options);
    source.connection.giveUpTo(9);
    await until(() => (camera.health().preEvent?.overflows ?? 0) > 0);
    await until(() => source.connection.frames.bytes === 0);
    const { overflows = 0, bytes = Infinity } = camera.health().preEvent ?? {};
    expect(bytes).toBeLessThanOrEqual(65_536);
    source.connection.end();
    await until(() => camera.health().reconnects === 1);
    expect(camera.health().preEvent).toMatchObject({ overflows, bytes: 0 });
  });
});

/** Pictures of another size than the footage's, on its timescale. */
async function smallPictures(video: Track): Promise<{ newTrack: Track; pictures: Frame[] }> {
  const picture = ['-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=25', '-t', '20', '-c:v', 'libx264', '-bf', '2'];
  const path = await makeMedia('h264-small.mp4', [...picture, '-g', '50', '-pix_fmt', 'yuv420p']);
  await using file = await openMediaFile(path);
  const [track = video] = file.tracks;
  const scale = video.timescale / track.timescale;
  const small: Frame[] = [];
  let firstDts: number | undefined;
  for await (const { durationTicks: _, ...frame } of file.frames()) {
    firstDts ??= frame.dts;
    const dts = Math.round((frame.dts - firstDts) * scale);
    small.push({ ...frame, dts, compositionOffset: Math.round(frame.compositionOffset * scale) });
  }
  return { newTrack: { ...track, timescale: video.timescale }, pictures: small };
}

/** The footage's pictures go on in another size from second 4 on. */
async function changed() {
  const [video] = footage().tracks;
  if (video === undefined) throw new Error('there is a video track');
  const { newTrack, pictures: small } = await smallPictures(video);
  const before = between(0, 4).filter(({ track }) => track === 0);
  const after = small.slice(100).map((frame, i): Frame => (i === 0 ? { ...frame, newTrack } : frame));
  return { newTrack, footage: { tracks: [video], frames: [...before, ...after] } };
}

describe.concurrent('a configuration that changes', () => {
  test.each([
    ['while it is off', 6, 7],
    ['while it is held in the buffer', 5, 5],
    ['while it is recorded', 3, 3],
  ])('%s', async (_, startedAt, heldFrom) => {
    const { footage: mixed, newTrack } = await changed();
    await using archive = await open();
    const isOff = heldFrom === 7;
    const options = isOff ? ON_DEMAND : { ...ON_DEMAND, preEventMs: 2000 };
    const { camera, source, told } = await connected(archive, { footage: mixed }, options);
    source.connection.giveUpTo(startedAt);
    await until(() => source.connection.frames.bytes === 0);
    camera.startRecording();
    source.connection.giveUpTo(11);
    await until(() => camera.health().recording && source.connection.frames.bytes === 0);
    await camera.close();
    const begin = { 6: 6, 5: 2, 3: 0 }[startedAt] ?? Number.NaN;
    expect(pictures(await recorded(archive))).toEqual(
      hashes(from(mixed.frames, mixed.tracks, begin), 0).slice(0, (11 - begin) * 25),
    );
    expect(told).toContainEqual(['configuration', newTrack]);
    expect(camera.health().tracks[0]).toMatchObject({ width: 320, height: 180 });
    expect(camera.health().lostFrames).toBe(0);
    expect(statesOf(told)).toEqual(['online', 'closed']);
  });
});
