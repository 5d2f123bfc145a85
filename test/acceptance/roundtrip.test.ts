/**
 * What goes in comes out: an export of a whole import has every packet of the source, byte for byte and at its time,
 * whatever way it is sent and in whatever state its segments are.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import { twin } from '../../src/twin/index.ts';
import {
  at,
  exportTo,
  heldFrames,
  seeded,
  sha256,
  variantFile,
  VARIANT_NAMES,
  withArchiveServer,
} from '../support/acceptance.ts';
import { expectSamePackets } from '../support/essence.ts';
import { warnings } from '../support/ffmpeg.ts';
import { makeMedia, mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

describe('an export of a whole import has every packet, DTS and PTS of the source', () => {
  test.each([
    { name: 'in one segment', recorder: {}, least: 1, most: 1 },
    { name: 'in many segments', recorder: { segmentDurationMs: 50_000 }, least: 20, most: 30 },
  ])('20 minutes of H.264 with B-frames and AAC, $name', async ({ recorder, least, most }) => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const source = await mediaFile('h264-aac-20min');
    const result = await archive.import('door', source, { start: at(0), recorder });
    expect(result.frames[0]).toBe(20 * 60 * 25);
    const exported = join(folder, 'export.mp4');
    const { manifest } = await exportTo(exported, archive, { camera: 'door', start: at(-60), duration: 1400 });
    expect(manifest.segments.length).toBeGreaterThanOrEqual(least);
    expect(manifest.segments.length).toBeLessThanOrEqual(most);
    expect(manifest).toMatchObject({ silentAudioFrames: 0, droppedAudioFrames: 0, widenedJoints: 0 });
    await expectSamePackets(exported, source);
  });

  test.each([
    ['h264-aac-moov-first', 'mp4', ['-movflags', '+faststart']],
    ['h265-aac', 'mp4', ['-tag:v', 'hvc1']],
    ['h264-only', 'mp4', []],
    ['aac-only', 'm4a', []],
  ] as const)('%s', async (kind, type, args) => {
    const cut = ['-i', await mediaFile(kind), '-t', '9', '-c', 'copy', ...args];
    await expectRoundtrip(await makeMedia(`nine-seconds-${kind}.${type}`, cut), 4000);
  });

  test.each(VARIANT_NAMES)('%s', async (variant) => {
    await expectRoundtrip(await variantFile(variant), 3000, variant === 'H.264 with open GOPs');
  });
});

async function expectRoundtrip(source: string, segmentDurationMs: number, open = false): Promise<void> {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  const { endUtcMs } = await archive.import('door', source, { start: at(0), recorder: { segmentDurationMs } });
  const exported = join(folder, 'export.mp4');
  const { manifest } = await exportTo(exported, archive, { camera: 'door', start: at(0), end: new Date(endUtcMs + 1) });
  expect(manifest.segments.length).toBeGreaterThan(1);
  expect(manifest.hiddenPictures).toBe(0);
  await expectSamePackets(exported, source);
  expect(await warnings(exported)).toBe(await warnings(source));
  for await (const report of archive.verify()) {
    expect(report).toMatchObject({ state: 'sealed', problems: [] });
    // Alone, a segment lacks the references of the leading pictures of its first sync sample: they are not shown.
    const withoutLeading =
      /^(\[h264 @ \S+\] (mmco|Missing reference|reference)[^\n]*\s*| +Last message repeated \d+ times\s*)+$/;
    expect((await warnings(join(archive.root, report.path))).replace(open ? withoutLeading : '', '')).toBe('');
  }
}

const RANGE = { start: at(3.3), end: at(9.7) } as const;
const QUERY = `start=${RANGE.start.toISOString()}&end=${RANGE.end.toISOString()}`;

async function download(base: string, camera: string, range?: string) {
  const headers = range === undefined ? {} : { range };
  const response = await fetch(`${base}/api/cameras/${camera}/export.mp4?${QUERY}`, { headers });
  return {
    status: response.status,
    etag: response.headers.get('etag'),
    body: Buffer.from(await response.arrayBuffer()),
  };
}

describe('the same range gives the same bytes', () => {
  test('by library, command line, native sender and twin', async () => {
    const folder = await temporaryFolder();
    const root = join(folder, 'archive');
    const reference = join(folder, 'reference.mp4');
    const bodies: Buffer[] = [];
    const etags = new Set<string | null>();
    const take = async (archive: Archive) => {
      const { status, body, etag } = await withArchiveServer(archive, (base) => download(base, 'door'));
      expect(status).toBe(200);
      bodies.push(body);
      etags.add(etag);
    };
    {
      await using archive = await openArchive(root);
      const recorder = { segmentDurationMs: 3000 };
      await archive.import('door', await variantFile('plain'), { start: at(0), recorder });
      etags.add((await exportTo(reference, archive, { camera: 'door', ...RANGE })).etag);
      await take(archive);
    }
    {
      await using archive = await openArchive(root, { native: twin });
      await take(archive);
    }
    const hashes = await Promise.all(
      ['0', '1'].map(async (native) => {
        const output = join(folder, `cli-${native}.mp4`);
        const times = ['--start', RANGE.start.toISOString(), '--end', RANGE.end.toISOString()];
        const args = ['bin/footage.cjs', 'export', '--archive', root, '--camera', 'door', ...times, '-o', output];
        await run(process.execPath, args, { env: { ...process.env, FOOTAGE_NATIVE: native } });
        return sha256(output);
      }),
    );
    expect(hashes).toEqual([await sha256(reference), await sha256(reference)]);
    expect([...etags]).toHaveLength(1);
    expect(bodies[0]?.equals(bodies[1] ?? Buffer.alloc(0))).toBe(true);
    await expectEqual(bodies[0], reference);
  });

  test('by byte ranges, stitched together or picked at random', async () => {
    const folder = await temporaryFolder();
    await using archive = await openArchive(join(folder, 'archive'));
    const recorder = { segmentDurationMs: 3000 };
    await archive.import('door', await variantFile('plain'), { start: at(0), recorder });
    await withArchiveServer(archive, async (base) => {
      const { body: whole } = await download(base, 'door');
      const random = seeded(7);
      const pieces: Buffer[] = [];
      for (let from = 0; from < whole.length;) {
        const to = Math.min(whole.length, from + 1 + Math.floor(random() ** 3 * 0.2 * whole.length));
        const { status, body } = await download(base, 'door', `bytes=${from}-${to - 1}`);
        expect(status).toBe(206);
        pieces.push(body);
        from = to;
      }
      expect(Buffer.concat(pieces).equals(whole)).toBe(true);
      for (let i = 0; i < 30; i++) {
        const from = Math.floor(random() * whole.length);
        const to = Math.min(whole.length, from + 1 + Math.floor(random() * 50_000));
        const { body } = await download(base, 'door', `bytes=${from}-${to - 1}`);
        expect(body.equals(whole.subarray(from, to)), `bytes ${from} to ${to}`).toBe(true);
      }
      const tail = await download(base, 'door', 'bytes=-777');
      expect(tail.body.equals(whole.subarray(-777))).toBe(true);
    });
  });

  test('while the segment is open, when it is sealed, and from a new catalog', async () => {
    const folder = await temporaryFolder();
    const root = join(folder, 'archive');
    const states: { etag: string; hash: string }[] = [];
    const take = async (archive: Archive) => {
      const output = join(folder, `${states.length}.mp4`);
      const { etag } = await exportTo(output, archive, { camera: 'door', ...RANGE });
      states.push({ etag, hash: await sha256(output) });
    };
    {
      await using archive = await openArchive(root);
      const source = await heldFrames(await variantFile('plain'), 11);
      const { tracks, frames } = source;
      const options = { tracks, frames, startUtcMs: at(0).getTime(), segmentDurationMs: 5000 };
      const recording = await archive.record('door', options);
      await source.holding(recording);
      await take(archive);
      source.release();
      await recording.finished;
      await take(archive);
    }
    await rm(join(root, 'catalog.db'));
    {
      await using archive = await openArchive(root);
      await take(archive);
    }
    {
      await using archive = await openArchive(root, { readOnly: true, native: twin });
      await take(archive);
    }
    expect(new Set(states.map(({ etag }) => etag)).size).toBe(1);
    expect(new Set(states.map(({ hash }) => hash)).size).toBe(1);
  });
});

async function expectEqual(body: Buffer | undefined, file: string): Promise<void> {
  const { stdout } = await run('cat', [file]);
  expect(body?.equals(stdout)).toBe(true);
}
