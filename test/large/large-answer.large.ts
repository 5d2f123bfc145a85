/**
 * One answer of more than 4 GiB and more than 24 hours: its length is right, it can be resumed wherever it was cut, and
 * players reach its end. Takes some minutes, and 10 GB below TMPDIR.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Archive, openArchive } from '../../src/archive.ts';
import { openMediaFile } from '../../src/ingest/media-file.ts';
import type { Frame } from '../../src/media.ts';
import { at, picturesOf, START_MS, seeded, variantFile, withArchiveServer } from '../support/acceptance.ts';
import { playInChromium } from '../support/chromium.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

const HOURS = 25;
const FILLER_BYTES = 2_600_000;

/** A filler data NAL unit (ITU-T H.264 7.3.2.7): bytes that decoders skip. */
function filler(): Uint8Array {
  const unit = new Uint8Array(4 + FILLER_BYTES).fill(0xff);
  new DataView(unit.buffer).setUint32(0, FILLER_BYTES);
  unit[4] = 12;
  unit[unit.length - 1] = 0x80;
  return unit;
}

/** The video of a file, once a second a picture, again and again, its sync samples made large. */
async function* slowFrames(path: string, track: number, timescale: number): AsyncGenerator<Frame> {
  const large = filler();
  const file = await openMediaFile(path);
  try {
    const frames: Frame[] = [];
    for await (const frame of file.frames()) if (frame.track === track) frames.push(frame);
    const step = timescale;
    // The first picture is presented at time 0, as in the source's own edit list.
    const delay = Math.round((frames[0]?.compositionOffset ?? 0) / ((frames[1]?.dts ?? 0) - (frames[0]?.dts ?? 0)));
    const source = (frames[1]?.dts ?? 0) - (frames[0]?.dts ?? 0);
    for (let i = 0; i < HOURS * 3600; i++) {
      const frame = frames[i % frames.length];
      if (frame === undefined) return;
      const data = frame.sync ? Buffer.concat([large, frame.data]) : frame.data;
      const compositionOffset = Math.round((frame.compositionOffset / source) * step);
      yield { track: 0, data, dts: (i - delay) * step, compositionOffset, sync: frame.sync, durationTicks: step };
    }
  } finally {
    await file.close();
  }
}

async function recordDay(archive: Archive): Promise<void> {
  const source = await variantFile('plain');
  const file = await openMediaFile(source);
  const index = file.tracks.findIndex(({ kind }) => kind === 'video');
  const track = file.tracks[index];
  await file.close();
  if (track === undefined) throw new Error('no video');
  const frames = slowFrames(source, index, track.timescale);
  const recording = await archive.record('door', { tracks: [track], frames, startUtcMs: START_MS });
  await recording.finished;
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

test('an answer over 4 GiB and over 24 hours', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  await recordDay(archive);
  await withArchiveServer(archive, async (base) => {
    const url = `${base}/api/cameras/door/export.mp4?start=${at(1).toISOString()}&duration=${HOURS * 3600 - 1}`;
    const { length, etag } = await archive.session({ camera: 'door', start: at(1), duration: HOURS * 3600 - 1 });
    expect(length).toBeGreaterThan(2 ** 32);
    const whole = join(folder, 'whole.mp4');
    await run('curl', ['-sf', '-o', whole, url]);
    expect((await stat(whole)).size).toBe(length);
    const expected = await sha256(whole);

    const random = seeded(7);
    for (let i = 0; i < 3; i++) {
      await truncate(whole, Math.floor(random() * length));
      await run('curl', ['-sf', '-C', '-', '-H', `If-Match: ${etag}`, '-o', whole, url]);
      expect(await sha256(whole), `resumed ${i}`).toBe(expected);
    }

    // The last pictures, by the file and over HTTP.
    const [last = ''] = (await picturesOf(await variantFile('plain'))).slice(-1).map(({ hash }) => hash);
    for (const input of [whole, url]) {
      const seek = ['-v', 'error', '-nostdin', '-ss', String(HOURS * 3600 - 20), '-i', input];
      const { stdout } = await run('ffmpeg', [...seek, '-map', '0:v', '-f', 'framemd5', '-']);
      expect(stdout.toString().trim().split('\n').at(-1)).toContain(last);
    }
    const target = HOURS * 3600 - 4.5;
    const playback = await playInChromium(url, {
      seekTo: [target, 5.5, target - 40_000],
      play: false,
      timeoutMs: 300_000,
    });
    expect(playback.errors).toEqual([]);
    expect(playback.duration).toBeCloseTo(HOURS * 3600 - 1, 0);
    expect(playback.seeks[0]?.mediaTime).toBeGreaterThan(target - 1.5);
  });
});
