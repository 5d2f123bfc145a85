/**
 * Fragmented answers: the packets and times of the plain answer to the same request, for FFmpeg from a file or a pipe and
 * for Chromium's MSE; and as resumable as the plain one.
 */
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { beforeAll, describe, expect, test } from 'vitest';
import { type Archive, openArchive, type SessionRequest } from '../../src/archive.ts';
import type { ByteRange } from '../../src/session/virtual-file.ts';
import type { Session } from '../../src/session/session.ts';
import {
  AAC,
  at,
  exportTo,
  heldFrames,
  picturesOf,
  seeded,
  START_MS,
  tone,
  variantFile,
  video,
  withArchiveServer,
  X264,
} from '../support/acceptance.ts';
import { withPage } from '../support/chromium.ts';
import { type Packet, packets, run, warnings } from '../support/ffmpeg.ts';
import { makeMedia, mediaFile } from '../support/media.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

const FRAME_S = 0.04;

const sized = (size: string) =>
  makeMedia(`fragments-${size}.mp4`, [...video(), ...tone(), '-t', '3', '-s', size, ...X264, '-g', '25', ...AAC]);

/** Thirty seconds that are quickly decoded. */
const smallFile = (name: string, sound: readonly string[]) =>
  makeMedia(name, [...video(), ...tone(), '-t', '30', '-s', '160x90', ...X264, ...sound]);

const twoSounds = () =>
  makeMedia('two-sounds.mp4', [
    ...[...video(), ...tone(), ...tone(44_100), '-t', '4', '-map', '0', '-map', '1', '-map', '2'],
    ...[...X264, '-g', '25', ...AAC],
  ]);

/** Cameras of one archive: their files, and the seconds at which each begins. */
const CAMERAS: Readonly<Record<string, readonly (readonly [file: () => Promise<string>, startS: number])[]>> = {
  door: [[() => variantFile('plain'), 0]],
  gap: [
    [() => variantFile('plain'), 0],
    [() => variantFile('plain'), 17.3],
  ],
  long: [[() => smallFile('small.mp4', AAC), 0]],
  opengop: [[() => variantFile('H.265 with open GOPs'), 0]],
  late: [[() => variantFile('video a second before audio'), 0]],
  early: [[() => variantFile('audio a second before video'), 0]],
  negative: [[() => variantFile('negative composition offsets'), 0]],
  sizes: [
    [() => sized('320x180'), 0],
    [() => sized('160x90'), 4],
  ],
  silent: [[() => smallFile('small-silent.mp4', ['-an']), 0]],
  sound: [[() => mediaFile('opus-only'), 0]],
  languages: [
    [() => twoSounds(), 0],
    [() => twoSounds(), 5],
  ],
};
/** Those with one long segment, of which most is a block. */
const ONE_SEGMENT = new Set(['long', 'silent']);

let root: string;
let archive: Archive;
beforeAll(async () => {
  root = join(await sharedTemporaryFolder(), 'archive');
  archive = await openArchive(root);
  for (const [camera, files] of Object.entries(CAMERAS)) {
    const recorder = ONE_SEGMENT.has(camera) ? {} : { segmentDurationMs: 2000 };
    for (const [file, startS] of files) await archive.import(camera, await file(), { start: at(startS), recorder });
  }
  return () => archive.close();
});

/** A collecting end of a pipe. */
async function bytesOf(session: Session, range?: ByteRange): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const target = new Writable({
    write(chunk: Buffer, _encoding, done) {
      // The sender owns its buffer and may use it again.
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  await session.send(target, range === undefined ? {} : { range });
  return Buffer.concat(chunks);
}

/** What has to be equal; FFmpeg hides nothing and prints no length of the first sound where it reads fragments. */
function comparable(all: readonly Packet[], stream: number) {
  return all
    .filter((packet) => packet.stream === stream)
    .map(({ pts, dts, size, hash, flags }, i) => ({
      ...{ pts, dts, size, sync: flags.startsWith('K') },
      // ffprobe prints no hash for a packet with side data (the first one of AAC).
      hash: i === 0 ? undefined : hash,
    }));
}

const REQUESTS: Readonly<Record<string, SessionRequest>> = {
  'B-frames and AAC, several segments, from the middle of a GOP': { camera: 'door', start: at(1.5), end: at(10.3) },
  'a whole segment': { camera: 'long', start: at(-1), end: at(40) },
  'the middle of a segment': { camera: 'long', start: at(7.77), end: at(24.4) },
  'a gap': { camera: 'gap', start: at(3.3), end: at(24.7) },
  'a gap over which the last picture is held': { camera: 'gap', start: at(3.3), end: at(24.7), gaps: 'freeze' },
  'open GOPs': { camera: 'opengop', start: at(1.5), end: at(10.3) },
  'sound that begins later': { camera: 'late', start: at(-1), end: at(9) },
  'sound that begins earlier': { camera: 'early', start: at(-1), end: at(9) },
  'negative composition offsets': { camera: 'negative', start: at(1.5), end: at(10.3) },
  'two tracks of sound': { camera: 'languages', start: at(1.5), end: at(9), gaps: 'freeze' },
  'two configurations': { camera: 'sizes', start: at(0.5), end: at(8) },
  'the pictures of two configurations': { camera: 'sizes', start: at(0.5), end: at(8), tracks: 'video' },
  'only the pictures': { camera: 'door', start: at(1.5), end: at(10.3), tracks: 'video' },
  'only the sound': { camera: 'gap', start: at(3.3), end: at(24.7), tracks: 'audio', gaps: 'freeze' },
  'pictures without sound': { camera: 'silent', start: at(7.77), end: at(24.4) },
  'sound without pictures': { camera: 'sound', start: at(1.23), end: at(9) },
  'a time-lapse': { camera: 'gap', start: at(0.5), end: at(29), keyframes: true, speed: 8 },
  'a time-lapse of two configurations': { camera: 'sizes', start: at(0), end: at(8), keyframes: true },
  'begin with a sync sample': { camera: 'door', start: at(1.5), end: at(10.3), begin: 'next' },
};

describe.each(Object.entries(REQUESTS))('%s', (_name, request) => {
  test('has the packets of the plain answer, and decodes', async () => {
    const folder = await temporaryFolder();
    const [plain, fragmented] = [join(folder, 'plain.mp4'), join(folder, 'fragmented.mp4')];
    const sessions = [
      await exportTo(plain, archive, request),
      await exportTo(fragmented, archive, { ...request, format: 'fmp4' }),
    ];
    expect(sessions[1]?.manifest.delivered).toEqual(sessions[0]?.manifest.delivered);
    expect(sessions[1]?.etag).not.toBe(sessions[0]?.etag);
    expect(await warnings(fragmented)).toBe('');
    const [theirs = [], ours = []] = await Promise.all(
      [plain, fragmented].map((file) => packets(file, { hash: true })),
    );
    expect(ours.length).toBeGreaterThan(5);
    for (const stream of [0, 1, 2]) expect(comparable(ours, stream)).toEqual(comparable(theirs, stream));
  });

  test('has the length that was announced, and any range of it is a piece of the whole', async () => {
    const asked = { ...request, format: 'fmp4' } as const;
    const session = await archive.session(asked);
    const whole = await bytesOf(session);
    expect(whole).toHaveLength(session.length);
    // An archive that knows nothing yet.
    await using other = await openArchive(root, { readOnly: true });
    const again = await other.session(asked);
    expect(again.etag).toBe(session.etag);
    const random = seeded(whole.length);
    for (let i = 0; i < 25; i++) {
      const start = Math.floor(random() * whole.length);
      const end = Math.min(whole.length, start + 1 + Math.floor(random() ** 4 * 300_000));
      expect((await bytesOf(again, { start, end })).equals(whole.subarray(start, end)), `${start}-${end}`).toBe(true);
    }
  });
});

/** Appends the whole address to a SourceBuffer and plays it; runs in the page. */
const PLAY_APPENDED = `async ({ url, offsetS, type }) => {
  const event = (target, type) => new Promise((resolve) => target.addEventListener(type, resolve, { once: true }));
  const errors = [];
  const video = document.createElement('video');
  video.addEventListener('error', () => errors.push('MediaError ' + video.error.code + ': ' + video.error.message));
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await event(source, 'sourceopen');
  const buffer = source.addSourceBuffer(type);
  buffer.timestampOffset = offsetS;
  buffer.appendBuffer(await (await fetch(url)).arrayBuffer());
  await Promise.race([event(buffer, 'updateend'), event(video, 'error')]);
  const announced = source.duration;
  source.endOfStream();
  const buffered = Array.from({ length: buffer.buffered.length }, (_, i) => [buffer.buffered.start(i), buffer.buffered.end(i)]);
  const ended = Promise.race([event(video, 'ended'), event(video, 'error')]);
  video.currentTime = offsetS;
  video.playbackRate = 2;
  await video.play().catch((error) => errors.push(String(error)));
  await ended;
  return { errors, announced, buffered, ended: video.ended, decoded: video.getVideoPlaybackQuality().totalVideoFrames };
}`;

interface Appended {
  readonly errors: readonly string[];
  /** Seconds, as the init segment says. */
  readonly announced: number;
  readonly buffered: readonly (readonly [number, number])[];
  readonly ended: boolean;
  readonly decoded: number;
}

/** How the page at `base` plays an answer that it appends whole, with all times moved by so many seconds. */
async function playAppended(base: string, url: string, codecs: readonly string[], offsetS: number): Promise<Appended> {
  return withPage(async (page) => {
    await page.route(`${base}/page.html`, (route) => route.fulfill({ contentType: 'text/html', body: '<body>' }));
    await page.goto(`${base}/page.html`);
    const request = JSON.stringify({ url, offsetS, type: `video/mp4; codecs="${codecs.join(', ')}"` });
    return page.evaluate<Appended>(`(${PLAY_APPENDED})(${request})`);
  });
}

describe('Chromium appends the answer whole and plays it to its end', () => {
  const range = { camera: 'gap', start: at(10.7), end: at(18.5) };

  // Pictures before time 0 are dropped, and with them all up to the next sync sample: so times are moved, or shown.
  test.each([
    ['from its sync sample on', 'keyframe', 0],
    ['from the middle of a GOP', 'exact', 10],
  ] as const)('%s', async (_name, begin, offsetS) => {
    const { manifest } = await archive.session({ ...range, begin, format: 'fmp4' });
    const plain = join(await temporaryFolder(), 'plain.mp4');
    await exportTo(plain, archive, { ...range, begin });
    const shown = (await picturesOf(plain)).length;
    const played = await withArchiveServer(archive, (base) => {
      const query = `start=${range.start.toISOString()}&end=${range.end.toISOString()}&begin=${begin}&format=fmp4`;
      return playAppended(base, `${base}/api/cameras/gap/export.mp4?${query}`, manifest.codecs, offsetS);
    });
    expect(played.errors).toEqual([]);
    expect(played.ended).toBe(true);
    expect(played.buffered).toHaveLength(1);
    const [[start, end] = [0, 0]] = played.buffered;
    expect(start).toBeLessThanOrEqual(offsetS);
    // Pictures at the end that only others need are shown as well: as many as there are B-frames in a row.
    for (const endS of [end, played.announced]) {
      expect(endS - offsetS).toBeGreaterThan(shown * FRAME_S - 0.001);
      expect(endS - offsetS).toBeLessThan((shown + 2) * FRAME_S + 0.001);
    }
    expect(played.decoded).toBeGreaterThanOrEqual(shown - 1);
  });
});

test('a pipe from curl to FFmpeg', async () => {
  await withArchiveServer(archive, async (base) => {
    const url = `${base}/api/cameras/door/export.mp4?start=${at(2).toISOString()}&duration=8&format=fmp4`;
    const pipe = `set -o pipefail; curl -sSf "$1" | ffmpeg -v warning -i pipe:0 -f framemd5 -map 0:v -`;
    const { stdout, stderr } = await run('bash', ['-c', pipe, 'bash', url]);
    expect(stderr).toBe('');
    const plain = join(await temporaryFolder(), 'plain.mp4');
    await exportTo(plain, archive, { camera: 'door', start: at(2), end: at(10) });
    const hashes = stdout.toString('utf8').match(/[0-9a-f]{32}$/gm);
    expect(hashes).toEqual((await picturesOf(plain)).map(({ hash }) => hash));
  });
});

test('the same bytes under the same ETag, while the segment is open and when it is sealed', async () => {
  await using recorder = await openArchive(join(await temporaryFolder(), 'archive'));
  const held = await heldFrames(await smallFile('small.mp4', AAC), 25);
  const options = { tracks: held.tracks, frames: held.frames, startUtcMs: START_MS };
  const recording = await recorder.record('door', options);
  await held.holding(recording);
  const request = { camera: 'door', start: at(3.3), end: at(21), format: 'fmp4' } as const;
  const open = await recorder.session(request);
  const whole = await bytesOf(open);
  held.release();
  await recording.finished;
  const sealed = await recorder.session(request);
  expect(sealed.etag).toBe(open.etag);
  expect((await bytesOf(sealed)).equals(whole)).toBe(true);
  // A download that began while the segment was open goes on.
  expect((await bytesOf(open, { start: 1000, end: open.length })).equals(whole.subarray(1000))).toBe(true);
});
