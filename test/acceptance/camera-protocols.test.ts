/** Cameras that do not speak RTSP: what comes over RTMP, SRT and HTTP is recorded too, or refused in words. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { picturesOf } from '../support/acceptance.ts';
import { CAMERA_FPS, cameraStream } from '../support/camera.ts';
import { probe, warnings } from '../support/ffmpeg.ts';
import { appended, expectSameTimes, expectUnbroken, exportedTrack, healthy } from '../support/live.ts';
import { temporaryFolder } from '../support/tmp.ts';

const SECONDS = 4;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return address.port;
}

/** FFmpeg as a server for one client after the other: it ends with each, and is started again. */
function serveAgainAndAgain(args: readonly string[]): void {
  let child: ChildProcess | undefined;
  let isOver = false;
  const start = () => {
    if (isOver) return;
    child = spawn('ffmpeg', ['-v', 'error', '-nostdin', ...args], { stdio: 'ignore' });
    child.once('close', () => setTimeout(start, 50));
  };
  start();
  onTestFinished(() => {
    isOver = true;
    child?.kill('SIGKILL');
  });
}

async function inputs(): Promise<string[]> {
  const { video, audio } = await cameraStream('h264-bframes-aac');
  return ['-re', '-i', video?.file ?? '', '-re', '-i', audio?.file ?? '', '-map', '0:v', '-map', '1:a', '-c', 'copy'];
}

describe('a camera is recorded', () => {
  test('over RTMP: every frame, sound without the rounding of its times', async () => {
    const folder = await temporaryFolder();
    const url = `rtmp://127.0.0.1:${await freePort()}/live/secret-key`;
    serveAgainAndAgain([...(await inputs()), '-f', 'flv', '-listen', '1', url]);
    await using archive = await openArchive(`${folder}/archive`);
    const door = archive.camera('door', { source: url });
    await appended(door, SECONDS * CAMERA_FPS);
    expect(door.health().source).not.toContain('secret-key');
    await door.close();
    const { video, audio } = await cameraStream('h264-bframes-aac');
    if (video === undefined || audio === undefined) throw new RangeError('a stream has pictures and sound');
    const pictures = await exportedTrack(archive, 'door', video, folder);
    expectUnbroken(pictures);
    // RTMP counts milliseconds.
    expectSameTimes(pictures, 0.002);
    const sound = await exportedTrack(archive, 'door', audio, folder);
    expectUnbroken(sound);
    expectSameTimes(sound, 0.0001);
  });

  test.each([
    ['SRT', (port: number) => [`srt://127.0.0.1:${port}?mode=listener`, `srt://127.0.0.1:${port}`, []] as const],
    [
      'HTTP',
      (port: number) =>
        [`http://127.0.0.1:${port}/door.ts`, `http://127.0.0.1:${port}/door.ts`, ['-listen', '1']] as const,
    ],
  ])('over %s', async (_, addresses) => {
    const folder = await temporaryFolder();
    const [served, url, options] = addresses(await freePort());
    serveAgainAndAgain([...(await inputs()), '-f', 'mpegts', ...options, served]);
    await using archive = await openArchive(`${folder}/archive`);
    const door = archive.camera('door', { source: url });
    await appended(door, SECONDS * CAMERA_FPS);
    const { tracks, lostFrames } = door.health();
    await door.close();
    expect(tracks.map(({ kind, codec }) => [kind, codec.slice(0, 4)])).toEqual([
      ['video', 'avc1'],
      ['audio', 'mp4a'],
    ]);
    expect(lostFrames).toBe(0);
    const { video } = await cameraStream('h264-bframes-aac');
    if (video === undefined) throw new RangeError('a stream has pictures');
    // MPEG-TS puts delimiters into the pictures: they are counted and decoded, not compared.
    const { file, places, timesS } = await exportedTrack(archive, 'door', video, folder);
    expect(places.length).toBeGreaterThanOrEqual(SECONDS * CAMERA_FPS);
    expect(await picturesOf(file)).toHaveLength(places.length);
    expect((await warnings(file)).trim()).toBe('');
    const inOrder = timesS.toSorted((a, b) => a - b);
    const distances = inOrder.slice(1).map((time, i) => time - (inOrder[i] ?? 0));
    for (const distance of distances) expect(distance).toBeCloseTo(1 / CAMERA_FPS, 3);
  });
});

describe('what is not recorded is refused in words', () => {
  test('Motion JPEG over HTTP', async () => {
    const url = `http://127.0.0.1:${await freePort()}/video.mjpg?user=admin&pwd=hidden-word`;
    const pictures = ['-re', '-f', 'lavfi', '-i', 'testsrc2=size=320x240:rate=10', '-c:v', 'mjpeg'];
    serveAgainAndAgain([...pictures, '-f', 'mpjpeg', '-listen', '1', url]);
    await using archive = await openArchive(`${await temporaryFolder()}/archive`);
    const door = archive.camera('door', { source: url });
    const { error } = await healthy(door, ({ state, error: trouble }) => {
      return state === 'waiting' && trouble?.code !== 'E_CAMERA_UNREACHABLE';
    });
    expect(error?.code).toBe('E_INPUT_UNSUPPORTED');
    expect(error?.message).toMatch(/mjpeg video.*H\.264/);
    expect(error?.message).not.toContain('hidden-word');
  });

  test('what is no media at all, and nobody there', async () => {
    await using archive = await openArchive(`${await temporaryFolder()}/archive`);
    const door = archive.camera('door', { source: `rtsp://127.0.0.1:${await freePort()}/nothing` });
    const { error } = await healthy(door, ({ state }) => state === 'waiting');
    expect(error?.code).toBe('E_CAMERA_UNREACHABLE');
    expect(error?.message).toMatch(/cannot be reached: check its address/);
  });
});

test('sound that cannot be kept becomes AAC, and that is said', async () => {
  const folder = await temporaryFolder();
  const url = `http://127.0.0.1:${await freePort()}/door.ts`;
  const { video, audio } = await cameraStream('h264-alaw');
  const input = ['-re', '-i', video?.file ?? '', '-re', '-i', audio?.file ?? '', '-map', '0:v', '-map', '1:a'];
  serveAgainAndAgain([...input, '-c:v', 'copy', '-c:a', 'mp2', '-ar', '48000', '-f', 'mpegts', '-listen', '1', url]);
  await using archive = await openArchive(`${folder}/archive`);
  const door = archive.camera('door', { source: url });
  const notes: string[] = [];
  door.on('note', (line) => notes.push(line));
  await appended(door, 2 * CAMERA_FPS);
  await door.close();
  expect(notes).toEqual([expect.stringMatching(/mp2.*AAC/)]);
  if (video === undefined) throw new RangeError('a stream has pictures');
  const [span] = (await archive.timeline('door')).spans;
  const session = await archive.session({ camera: 'door', start: new Date(span?.startUtcMs ?? 0), duration: 5 });
  expect(session.manifest.segments.length).toBeGreaterThan(0);
  const { file } = await exportedTrack(archive, 'door', { ...(audio ?? { file: '' }), codec: 'aac' }, folder);
  expect((await probe(file)).streams[0]?.codec_name).toBe('aac');
});
