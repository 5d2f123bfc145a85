/** The test camera does what the tests of ingest rely on, as FFmpeg sees it over the network. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  AUDIO_DIES_AFTER_FRAMES,
  CAMERA_FPS,
  CAMERA_STREAMS,
  type CameraStreamKind,
  cameraStream,
  framesOf,
  framesOfSource,
  LOAD_FPS,
  placesOf,
  Receiver,
  type ReceiverOptions,
  SIZE_CHANGE_S,
  startCamera,
  type Stream,
  type TestCamera,
} from '../support/camera.ts';
import { run } from '../support/ffmpeg.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

/** Codecs as ffprobe names them, and how many pictures are received. */
const KINDS: Readonly<Record<CameraStreamKind, { video: string; audio?: string; pictures: number }>> = {
  'h264-aac': { video: 'h264', audio: 'aac', pictures: 75 },
  'h264-bframes-aac': { video: 'h264', audio: 'aac', pictures: 75 },
  'h265-opus': { video: 'hevc', audio: 'opus', pictures: 75 },
  'h264-alaw': { video: 'h264', audio: 'pcm_alaw', pictures: 75 },
  'h264-ulaw': { video: 'h264', audio: 'pcm_mulaw', pictures: 75 },
  'h264-only': { video: 'h264', pictures: 75 },
  'size-change': { video: 'h264', pictures: (SIZE_CHANGE_S + 2) * CAMERA_FPS },
  'audio-dies': { video: 'h264', audio: 'aac', pictures: 100 },
  load: { video: 'h264', audio: 'aac', pictures: 7 * LOAD_FPS },
};

const streams = new Map<CameraStreamKind, Stream>();
let camera: TestCamera;
/** What came from a camera with a wrong clock; it takes long, so other tests run at the same time. */
let wrongClock: Promise<Receiver>;
const WRONG_CLOCK_OFFSET_S = 7200;

function streamOf(kind: CameraStreamKind): Stream {
  const stream = streams.get(kind);
  if (stream === undefined) throw new RangeError(kind);
  return stream;
}

beforeAll(async () => {
  for (const kind of CAMERA_STREAMS) streams.set(kind, await cameraStream(kind));
  camera = await startCamera(Object.fromEntries(streams));
  wrongClock = receiveWrongClock(await sharedTemporaryFolder());
  // Judged by the test that waits for it.
  wrongClock.catch(() => undefined);
});

afterAll(() => camera.close());

/** FFmpeg writes the time of its own clock with each frame until the first report of the camera: six seconds at most. */
async function receiveWrongClock(folder: string): Promise<Receiver> {
  const stream = streamOf('h264-aac');
  const wrong = await startCamera({ front: stream }, { wrongClockOffsetS: WRONG_CLOCK_OFFSET_S });
  const videoOptions = ['-movflags', 'frag_every_frame+delay_moov+default_base_moof', '-write_prft', 'wallclock'];
  const receiver = new Receiver(wrong.url('front'), stream, folder, { videoOptions });
  try {
    await receiver.has(8 * CAMERA_FPS);
    await receiver.end();
    return receiver;
  } finally {
    await receiver[Symbol.asyncDispose]();
    await wrong.close();
  }
}

async function receive(url: string, stream: Stream, options: ReceiverOptions = {}): Promise<Receiver> {
  const receiver = new Receiver(url, stream, await temporaryFolder(), options);
  onTestFinished(() => receiver[Symbol.asyncDispose]());
  return receiver;
}

/** A camera of this test's own. */
async function ownCamera(...args: Parameters<typeof startCamera>): Promise<TestCamera> {
  const own = await startCamera(...args);
  onTestFinished(() => own.close());
  return own;
}

/**
 * From the first frame of the source on, each is there once and unchanged, and their distances in time are the same. The
 * first times of a stream with B-frames are FFmpeg's own invention.
 */
async function expectFromTheBeginning(received: string, source: Stream['video' | 'audio']): Promise<void> {
  if (source === undefined) throw new RangeError('the stream has no such track');
  const [here, there] = await Promise.all([framesOf(received, source.codec), framesOfSource(source)]);
  expect(here.hashes.length).toBeGreaterThan(0);
  expect(placesOf(here.hashes, there.hashes)).toEqual(here.hashes.map((_, i) => i));
  const shiftsS = here.timesS.map((timeS, i) => timeS - (there.timesS[i] ?? Number.NaN)).slice(3);
  expect(Math.max(...shiftsS) - Math.min(...shiftsS)).toBeLessThan(0.001);
}

async function codecOf(file: string): Promise<string> {
  const { stdout } = await run('ffprobe', [
    '-v',
    'error',
    '-show_entries',
    'stream=codec_name',
    '-of',
    'csv=p=0',
    file,
  ]);
  return String(stdout).trim();
}

async function widthsOf(file: string): Promise<string[]> {
  const { stdout } = await run('ffprobe', ['-v', 'error', '-show_entries', 'frame=width', '-of', 'csv=p=0', file]);
  return [...new Set(String(stdout).match(/\d+/g))];
}

async function receiveKind(kind: CameraStreamKind, folder: string): Promise<Receiver> {
  const receiver = new Receiver(camera.url(kind), streamOf(kind), folder);
  await receiver.has(KINDS[kind].pictures).finally(() => receiver.end());
  return receiver;
}

/** All kinds at once, since each takes its time. */
describe('a stream over TCP holds the frames of its source, at their times', () => {
  const receptions = new Map<CameraStreamKind, Promise<Receiver>>();

  beforeAll(async () => {
    for (const kind of CAMERA_STREAMS) receptions.set(kind, receiveKind(kind, await sharedTemporaryFolder()));
    await Promise.allSettled(receptions.values());
  });

  async function received(kind: CameraStreamKind): Promise<Receiver> {
    const receiver = await receptions.get(kind);
    if (receiver === undefined) throw new RangeError(kind);
    return receiver;
  }

  test.each(CAMERA_STREAMS)('%s: codecs', async (kind) => {
    const { videoFile, audioFile } = await received(kind);
    expect(await codecOf(videoFile)).toBe(KINDS[kind].video);
    if (KINDS[kind].audio !== undefined) expect(await codecOf(audioFile)).toBe(KINDS[kind].audio);
  });

  test.each(CAMERA_STREAMS.filter((kind) => kind !== 'load'))('%s: frames and times', async (kind) => {
    const { videoFile, audioFile } = await received(kind);
    const { video, audio } = streamOf(kind);
    await expectFromTheBeginning(videoFile, video);
    if (audio !== undefined) await expectFromTheBeginning(audioFile, audio);
  });

  test('a stream that loops goes on where its source begins again', async () => {
    const { videoFile } = await received('load');
    const source = join(await temporaryFolder(), 'clip.mp4');
    await run('ffmpeg', ['-v', 'error', '-i', streamOf('load').video?.file ?? '', '-c', 'copy', source]);
    const [clip, loops] = await Promise.all([framesOf(source, 'h264'), framesOf(videoFile, 'h264')]);
    const places = placesOf(loops.hashes, clip.hashes);
    expect(places.length).toBeGreaterThan(clip.hashes.length);
    expect(places).toEqual(places.map((_, i) => i % clip.hashes.length));
    const stepsS = stepsOf(loops.timesS).map((stepS) => Math.abs(stepS - 1 / LOAD_FPS));
    expect(Math.max(...stepsS)).toBeLessThan(0.001);
  });

  test('sound dies while pictures go on', async () => {
    const receiver = await received('audio-dies');
    expect(receiver.count('audio')).toBe(AUDIO_DIES_AFTER_FRAMES);
    expect(receiver.count('video') / CAMERA_FPS).toBeGreaterThan(3);
  });

  test('the picture becomes smaller', async () => {
    expect(await widthsOf((await received('size-change')).videoFile)).toEqual(['1280', '640']);
  });
});

test('UDP works too', async () => {
  const stream = streamOf('h264-aac');
  const receiver = await receive(camera.url('h264-aac'), stream, { transport: 'udp' });
  await receiver.has(CAMERA_FPS);
  await receiver.end();
  await expectFromTheBeginning(receiver.videoFile, stream.video);
});

describe('faults', () => {
  test('a camera that stands still answers nobody, and goes on without a loss', async () => {
    const stream = streamOf('h264-aac');
    const own = await ownCamera({ front: stream });
    const receiver = await receive(own.url('front'), stream);
    await receiver.has(20);
    own.stall();
    const answer = optionsAnswer(own.port);
    expect(await Promise.race([answer, sleep(500, 'nothing')])).toBe('nothing');
    own.resume();
    expect(await answer).toMatch(/^RTSP\/1\.0 200 /);
    await receiver.has(receiver.count('video') + 2 * CAMERA_FPS);
    await receiver.end();
    await expectFromTheBeginning(receiver.videoFile, stream.video);
    await expectFromTheBeginning(receiver.audioFile, stream.audio);
  });

  test('a killed camera drops its clients, and comes back at the same port', async () => {
    const stream = streamOf('h264-only');
    const own = await ownCamera({ front: stream });
    const first = await receive(own.url('front'), stream);
    await first.has(10);
    const { port, pid } = own;
    await own.kill();
    await first.ended();
    expect(() => own.pid).toThrow('does not run');
    await own.restart();
    expect(own.port).toBe(port);
    expect(own.pid).not.toBe(pid);
    const second = await receive(own.url('front'), stream);
    await second.has(10);
    await second.end();
    await expectFromTheBeginning(second.videoFile, stream.video);
  });

  test.each(['basic', 'digest'] as const)('a camera with a password (%s) lets nobody else in', async (auth) => {
    const stream = streamOf('h264-only');
    const [user, password] = ['viewer', 'p:ss/w@rd'];
    const own = await ownCamera({ front: stream }, { user, password, auth });
    const wrong = own.url('front').replace(encodeURIComponent(password), 'guess');
    for (const url of [own.publicUrl('front'), wrong]) {
      const refused = await receive(url, stream);
      expect(await refused.ended()).toContain('401');
      expect(refused.frames).toEqual([]);
    }
    const receiver = await receive(own.url('front'), stream);
    await receiver.has(5);
    expect(await readFile(`/proc/${own.pid}/cmdline`, 'utf8')).not.toContain(password);
  });

  test('a user without a password is refused before anything starts', async () => {
    await expect(startCamera({}, { user: 'viewer' })).rejects.toThrow('both a user and a password');
  });

  test('a camera that has died by itself can be closed and restarted', async () => {
    const own = await ownCamera({ front: streamOf('h264-only') });
    const { pid } = own;
    process.kill(pid, 'SIGKILL');
    await expect.poll(() => stateOf(pid)).toMatch(/^(gone|Z)$/);
    await own.restart();
    expect(own.pid).not.toBe(pid);
  });

  test('a taken port is an error that says so', async () => {
    await expect(startCamera({}, { port: camera.port })).rejects.toThrow(`port ${camera.port} cannot be listened on`);
  });
});

describe('clocks', () => {
  test('time stamps jump while frames come as before', async () => {
    const { video } = streamOf('h264-only');
    if (video === undefined) throw new RangeError('the stream has pictures');
    const stream: Stream = { video: { ...video, jump: { afterFrames: 20, seconds: 10 } } };
    const receiver = await receive((await ownCamera({ front: stream })).url('front'), stream);
    await receiver.has(50);
    const stepsS = stepsOf(receiver.frames.map(({ ptsS }) => ptsS));
    const jumps = stepsS.flatMap((stepS, i) => (Math.abs(stepS - 1 / CAMERA_FPS) < 0.001 ? [] : [{ i, stepS }]));
    expect(jumps).toEqual([{ i: 18, stepS: expect.closeTo(10 + 1 / CAMERA_FPS, 3) }]);
  });

  test('a camera without a clock gives every frame the same time', async () => {
    const { video } = streamOf('load');
    if (video === undefined) throw new RangeError('the stream has pictures');
    const stream: Stream = { video: { ...video, untimed: true } };
    // Without times FFmpeg does not know when it has looked for long enough.
    const options = { inputOptions: ['-probesize', '200000'] };
    const receiver = await receive((await ownCamera({ front: stream })).url('front'), stream, options);
    await receiver.has(10);
    expect(new Set(receiver.frames.map(({ ptsS }) => ptsS)).size).toBe(1);
  });

  test('a fast camera sends more than one whose clock is right', async () => {
    const stream = streamOf('h264-only');
    const right = await receive(camera.url('h264-only'), stream);
    const own = await ownCamera({ front: stream }, { clockPpm: 1_000_000 });
    await right.has(1);
    const fast = await receive(own.url('front'), stream);
    await fast.has(1);
    const [rightBefore, fastBefore] = [right.count('video'), fast.count('video')];
    await right.has(rightBefore + 2 * CAMERA_FPS);
    expect(fast.count('video') - fastBefore).toBeGreaterThan(3 * CAMERA_FPS);
  });

  test('a wrong clock is seen in the sender reports', async () => {
    const offsetsS = (await producerTimesS((await wrongClock).videoFile)).map((timeS) => timeS - Date.now() / 1000);
    expect(Math.abs(offsetsS[0] ?? Number.NaN)).toBeLessThan(600);
    expect(Math.abs((offsetsS.at(-1) ?? Number.NaN) - WRONG_CLOCK_OFFSET_S)).toBeLessThan(600);
  });
});

describe('the end of the process that started it', () => {
  const description = { port: 0, user: '', password: '', auth: 'digest', clockPpm: 0, mounts: [] };
  const parent = `
    coproc camera { exec /usr/bin/python3 "$0"; }
    printf '%s\\n' '${JSON.stringify(description)}' >&"\${camera[1]}"
    read -r ready <&"\${camera[0]}"
    kill "-$1" "$camera_PID"
    echo "$camera_PID"
    read -r forever`;

  test.each(['CONT', 'STOP'])('ends a camera that was sent SIG%s', async (signal) => {
    const program = join(import.meta.dirname, '../support/camera/rtsp_camera.py');
    const child = spawn('bash', ['-c', parent, program, signal], { stdio: ['pipe', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [pid] = await once(child.stdout, 'data');
    await expect.poll(() => stateOf(Number(pid))).toMatch(signal === 'STOP' ? /^[Tt]$/ : /^[SRD]$/);
    child.kill('SIGKILL');
    await expect.poll(() => stateOf(Number(pid)), { timeout: 20_000 }).toMatch(/^(gone|Z)$/);
  });
});

function stepsOf(timesS: readonly number[]): number[] {
  return timesS.slice(1).map((timeS, i) => timeS - (timesS[i] ?? Number.NaN));
}

/** The state of a process as /proc names it. */
async function stateOf(pid: number): Promise<string> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tgone');
  return /^State:\t(\w+)/m.exec(status)?.[1] ?? '';
}

/** What a camera says to a new client, as soon as it says anything. */
async function optionsAnswer(port: number): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  onTestFinished(() => void socket.destroy());
  socket.write('OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n');
  const [answer] = await once(socket, 'data');
  return String(answer);
}

/** Seconds since 1970 of each Producer Reference Time box. */
async function producerTimesS(file: string): Promise<number[]> {
  const bytes = await readFile(file);
  const times: number[] = [];
  const NTP_EPOCH_S = 2_208_988_800;
  for (let at = bytes.indexOf('prft'); at >= 0; at = bytes.indexOf('prft', at + 4)) {
    times.push(bytes.readUInt32BE(at + 12) + bytes.readUInt32BE(at + 16) / 2 ** 32 - NTP_EPOCH_S);
  }
  return times;
}
