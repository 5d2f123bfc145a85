/**
 * One address has the same bytes under one ETag, whatever has happened to its segments meanwhile: or it has another ETag,
 * and whoever holds the old one is told so.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import { type MediaFile, openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame } from '../../src/media.ts';
import { until, WAYS } from '../sender/rig.ts';
import { CLIP, serveHandler, START } from '../support/handler-fixture.ts';
import { errorOf, type Reply } from '../support/http-client.ts';
import { temporaryFolder } from '../support/tmp.ts';

const START_MS = Date.parse(START);

/** The clip as a camera that sends its frames up to a time of the clip, and stays silent until it is told to go on. */
class Camera {
  #untilS = 0;
  /** Ends the silence; undefined while there is none. */
  #wake: (() => void) | undefined;
  /** Pictures sent; sound waits in groups, so it says less. */
  #pictures = 0;

  async *frames({ tracks, frames }: Pick<MediaFile, 'tracks' | 'frames'>): AsyncGenerator<Frame, void, undefined> {
    for await (const frame of frames()) {
      const { timescale = 1, kind } = tracks[frame.track] ?? {};
      while (frame.dts / timescale >= this.#untilS) await new Promise<void>((resolve) => (this.#wake = resolve));
      if (kind === 'video') this.#pictures++;
      yield frame;
    }
  }

  /** Sends up to `seconds` of the clip, and waits until the archive has taken it all. */
  async sendUntil(seconds: number, appended: () => number): Promise<void> {
    await until('the camera is silent', () => this.#wake !== undefined);
    this.#untilS = seconds;
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
    await until('it is silent again', () => this.#wake !== undefined);
    await until('all pictures are appended', () => appended() === this.#pictures);
  }
}

async function recordClip(archive: Archive) {
  const file = await openMediaFile(CLIP);
  onTestFinished(() => file.close());
  const camera = new Camera();
  const { tracks } = file;
  const frames = camera.frames({ tracks, frames: () => file.frames() });
  const options = { tracks, frames, startUtcMs: START_MS, segmentDurationMs: 4000 };
  const recording = await archive.record('door', options);
  const video = tracks.findIndex(({ kind }) => kind === 'video');
  const appended = () => recording.stats().appended[video] ?? 0;
  return { recording, sendUntil: (seconds: number) => camera.sendUntil(seconds, appended) };
}

const path = (from: number, to: number) => {
  const [start, end] = [from, to].map((seconds) => (START_MS / 1000 + seconds).toFixed(3));
  return `/api/cameras/door/export.mp4?start=${start}&end=${end}`;
};
/** Begins inside a picture, lies in a segment that is still open, and in a sealed one before it. */
const RANGE = path(2.71, 6.3);

/** What must never change: every byte and every field, of the whole, of one range, and of several. */
async function answersAt(archive: Archive): Promise<unknown[]> {
  const { get } = await serveHandler(archive);
  const several = 'bytes=90000-99999,-5,0-1999';
  const replies: Reply[] = [];
  for (const range of ['', 'bytes=1000-100000', several]) {
    replies.push(await get(RANGE, range === '' ? {} : { headers: { range } }));
  }
  return replies.map(({ status, headers: { date: _date, ...headers }, body }) => ({
    status,
    headers,
    body: body.toString('base64'),
  }));
}

test.each(WAYS)('open, sealed, after a restart, with a new catalog: the same (%s sender)', async (_kind, native) => {
  const folder = await temporaryFolder();
  let archive = await openArchive(folder, { native });
  onTestFinished(() => archive.close());
  const { recording, sendUntil } = await recordClip(archive);
  await sendUntil(7.5);
  const open = await answersAt(archive);
  expect(open).toMatchObject([{ status: 200 }, { status: 206 }, { status: 206 }]);
  await sendUntil(11);
  expect(await answersAt(archive)).toEqual(open);
  await recording.stop();
  expect(await answersAt(archive)).toEqual(open);
  await archive.close();
  archive = await openArchive(folder, { native });
  expect(await answersAt(archive)).toEqual(open);
  await archive.close();
  await rm(join(folder, 'catalog.db'));
  archive = await openArchive(folder, { native });
  expect(await answersAt(archive)).toEqual(open);
});

test('addon and twin give the same, down to the boundary between parts', async () => {
  const folder = await temporaryFolder();
  const answers: unknown[] = [];
  for (const [, native] of WAYS) {
    await using archive = await openArchive(folder, { native });
    if (answers.length === 0) await archive.import('door', CLIP, { start: START });
    answers.push(await answersAt(archive));
  }
  expect(answers[1]).toEqual(answers[0]);
});

test('a range that reaches the present grows under another ETag, and no old one gets new bytes', async () => {
  await using archive = await openArchive(await temporaryFolder());
  const { recording, sendUntil } = await recordClip(archive);
  const { get } = await serveHandler(archive);
  const growing = path(1, 60);
  const etags = new Map<string, Buffer>();
  for (const seconds of [3, 5, 8]) {
    await sendUntil(seconds);
    const { headers, body } = await get(growing);
    const etag = headers.etag ?? '';
    expect(etags.has(etag)).toBe(false);
    for (const [old, bytes] of etags) {
      const ask = (fields: Record<string, string>) => get(growing, { headers: { range: 'bytes=100-', ...fields } });
      expect(bytes.equals(body)).toBe(false);
      expect(errorOf(await ask({ 'if-match': old })).code).toBe('E_PRECONDITION');
      const resumed = await ask({ 'if-range': old });
      expect([resumed.status, resumed.body.equals(body)]).toEqual([200, true]);
      expect((await ask({ 'if-none-match': old })).status).toBe(206);
    }
    etags.set(etag, body);
  }
  await recording.stop();
});
