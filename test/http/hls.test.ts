/**
 * What playlists and the files they name promise (RFC 8216): exact lengths and times, numbers that never go back, bytes that
 * never change; and how mistakes are answered.
 */
import { open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openArchive, type Archive } from '../../src/archive.ts';
import { heldFrames, tone, video, X264, AAC } from '../support/acceptance.ts';
import { CLIP, serveHandler, START } from '../support/handler-fixture.ts';
import { errorOf, type Reply } from '../support/http-client.ts';
import { makeMedia, mediaFile } from '../support/media.ts';
import { unseal } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

const START_MS = Date.parse(START);
const HLS = '/api/cameras/door/hls';
const wall = (seconds: number) => new Date(START_MS + seconds * 1000).toISOString();
const range = (from: number, to: number) => `start=${wall(from)}&end=${wall(to)}`;

interface Playlist {
  /** Values of tags that stand once. */
  readonly tags: ReadonlyMap<string, string>;
  readonly entries: readonly Entry[];
  readonly text: string;
}

interface Entry {
  readonly address: string;
  readonly durationS: number;
  readonly utcMs: number;
  readonly discontinuity: boolean;
  /** Address of its init segment. */
  readonly map: string;
}

function parse({ status, body }: Reply): Playlist {
  expect(status, body.toString().slice(0, 300)).toBe(200);
  const text = body.toString();
  const tags = new Map<string, string>();
  const entries: Entry[] = [];
  let map = '';
  let discontinuity = false;
  for (const line of text.trimEnd().split('\n')) {
    const [, tag = '', value = ''] = /^#([^:]*):?(.*)$/.exec(line) ?? [];
    if (tag === 'EXT-X-MAP') map = /URI="(.*)"/.exec(value)?.[1] ?? '';
    else if (tag === 'EXT-X-DISCONTINUITY') discontinuity = true;
    else if (tag !== '') tags.set(tag, value);
    else {
      const durationS = Number(tags.get('EXTINF')?.replace(',', ''));
      const utcMs = Date.parse(tags.get('EXT-X-PROGRAM-DATE-TIME') ?? '');
      entries.push({ address: line, durationS, utcMs, discontinuity, map });
      discontinuity = false;
    }
  }
  return { tags, entries, text };
}

async function emptyArchive(folder?: string): Promise<Archive> {
  const archive = await openArchive(folder ?? (await temporaryFolder()));
  onTestFinished(() => archive.close());
  return archive;
}

/** The clip of 16 s, four seconds a segment, twice, with a gap between. */
async function served() {
  const archive = await emptyArchive();
  const recorder = { segmentDurationMs: 4000 };
  for (const seconds of [0, 60]) await archive.import('door', CLIP, { start: wall(seconds), recorder });
  return { archive, ...(await serveHandler(archive)) };
}

/** A camera that has sent so many seconds of a minute, and goes on when told. */
async function recorded(archive: Archive, seconds: number, segmentDurationMs: number) {
  const { tracks, frames, holding, release } = await heldFrames(await mediaFile('h264-aac'), seconds);
  const recording = await archive.record('door', { tracks, frames, startUtcMs: START_MS, segmentDurationMs });
  await holding(recording);
  return { recording, release };
}

test('a range: whole units that meet it, with their lengths, wall times and gaps', async () => {
  const { get } = await served();
  const reply = await get(`${HLS}/index.m3u8?${range(5, 100)}`);
  const { tags, entries } = parse(reply);
  expect(reply.headers).toMatchObject({ 'content-type': 'application/vnd.apple.mpegurl', 'cache-control': 'no-cache' });
  expect([...tags.keys()]).toEqual(expect.arrayContaining(['EXTM3U', 'EXT-X-ENDLIST', 'EXT-X-INDEPENDENT-SEGMENTS']));
  expect(tags.get('EXT-X-PLAYLIST-TYPE')).toBe('VOD');
  // The second of four units of four seconds holds the start.
  expect(tags.get('EXT-X-START')).toBe('TIME-OFFSET=1,PRECISE=YES');
  expect(entries.map(({ utcMs }) => (utcMs - START_MS) / 1000)).toEqual([4, 8, 12, 60, 64, 68, 72]);
  expect(entries.map(({ durationS }) => durationS)).toEqual([4, 4, 4, 4, 4, 4, 4]);
  expect(entries.map(({ discontinuity }) => discontinuity)).toEqual([false, false, false, true, false, false, false]);
  expect(new Set(entries.map(({ map }) => map)).size).toBe(1);
  expect(tags.get('EXT-X-TARGETDURATION')).toBe('4');
});

test('a range that begins with a unit needs no other start', async () => {
  const { get } = await served();
  const { tags, entries } = parse(await get(`${HLS}/index.m3u8?${range(4, 8)}`));
  expect(entries).toHaveLength(1);
  expect(tags.has('EXT-X-START')).toBe(false);
});

test('the files of a playlist are there, for ever, in ranges and under conditions; HEAD says as much', async () => {
  const { archive, get } = await served();
  const { entries } = parse(await get(`${HLS}/index.m3u8?${range(0, 16)}`));
  for (const address of new Set(entries.flatMap((entry) => [entry.map, entry.address]))) {
    const whole = await get(`${HLS}/${address}`);
    expect(whole.status).toBe(200);
    expect(whole.headers).toMatchObject({ 'content-type': 'video/mp4', 'accept-ranges': 'bytes' });
    expect(whole.headers['cache-control']).toBe('max-age=31536000, immutable');
    const etag = whole.headers.etag ?? '';
    const part = await get(`${HLS}/${address}`, { headers: { range: 'bytes=100-299', 'if-range': etag } });
    expect([part.status, part.body.equals(whole.body.subarray(100, 300))]).toEqual([206, true]);
    expect((await get(`${HLS}/${address}`, { headers: { 'if-none-match': etag } })).status).toBe(304);
    const head = await get(`${HLS}/${address}`, { method: 'HEAD' });
    expect([head.headers['content-length'], head.body.length]).toEqual([String(whole.body.length), 0]);
  }
  // What a player may still be playing is kept.
  expect(archive.leased()).toEqual(new Set(entries.map(({ address }) => address.split('/')[0])));
});

const names = (entries: readonly Entry[]) => entries.map(({ address, durationS, map }) => [address, durationS, map]);

test('a unit has the same name, bytes and ETag while its segment is recorded, and when it is sealed', async () => {
  const archive = await emptyArchive();
  const { recording, release } = await recorded(archive, 18, 60_000);
  const { get } = await serveHandler(archive);
  const open = parse(await get(`${HLS}/index.m3u8?${range(0, 60)}`));
  const live = parse(await get(`${HLS}/live.m3u8`));
  const before = await Promise.all(open.entries.map(({ address }) => get(`${HLS}/${address}`)));
  release();
  await recording.finished;
  const sealed = parse(await get(`${HLS}/index.m3u8?${range(0, 60)}`));
  // Sixteen seconds in whole units; the last of a range is what GOPs there are.
  expect(live.entries.map(({ durationS }) => durationS)).toEqual([4, 4, 4, 4]);
  expect(names(sealed.entries).slice(0, live.entries.length)).toEqual(names(live.entries));
  expect(sealed.entries.reduce((sum, { durationS }) => sum + durationS, 0)).toBeCloseTo(60, 6);
  for (const [i, { address }] of open.entries.entries()) {
    const after = await get(`${HLS}/${address}`);
    expect(after.headers.etag).toBe(before[i]?.headers.etag);
    expect(after.body.equals(before[i]?.body ?? Buffer.alloc(0))).toBe(true);
  }
});

test('a unit that has not ended is not there yet, under no name', async () => {
  const archive = await emptyArchive();
  const { recording, release } = await recorded(archive, 9, 60_000);
  const { get } = await serveHandler(archive);
  const [first] = parse(await get(`${HLS}/live.m3u8`)).entries;
  const segment = first?.address.split('/')[0];
  const statusOf = async (name: string) => (await get(`${HLS}/${segment}/${name}.m4s`)).status;
  // GOPs have 50 pictures; some 225 are there.
  expect(
    await Promise.all(['0-200', '100-200', '200-250', '200-224', '0-99', '1-100', '100-100'].map(statusOf)),
  ).toEqual([200, 200, 404, 404, 404, 404, 404]);
  release();
  await recording.finished;
  expect(await statusOf('200-250')).toBe(200);
});

test('a live playlist goes on, and its numbers never go back: each file keeps its own, over a restart they grow', async () => {
  const folder = await temporaryFolder();
  const archive = await openArchive(folder);
  const { recording, release } = await recorded(archive, 30, 8000);
  const { get } = await serveHandler(archive);
  const live = async () => parse(await get(`${HLS}/live.m3u8`));
  // Twenty-eight seconds in whole units, once the segments before the open one are sealed.
  await expect.poll(async () => (await live()).entries.length, { timeout: 60_000 }).toBe(7);
  const first = await live();
  expect(first.tags.has('EXT-X-ENDLIST')).toBe(false);
  expect(numbered(await live())).toEqual(numbered(first));
  release();
  await recording.finished;
  const clip = { start: wall(100), recorder: { segmentDurationMs: 4000 } };
  await archive.import('door', CLIP, clip);
  const second = await live();
  const numbers = numbered(second);
  for (const [address, number] of numbered(first)) {
    if (numbers.has(address)) expect(numbers.get(address)).toBe(number);
    else expect(number).toBeLessThan(Math.min(...numbers.values()));
  }
  // A minute is left of 76 s; the gap is in it.
  expect(second.entries.reduce((sum, { durationS }) => sum + durationS, 0)).toBe(60);
  expect(second.entries.filter(({ discontinuity }) => discontinuity)).toHaveLength(1);
  expect(second.tags.get('EXT-X-TARGETDURATION')).toBe(first.tags.get('EXT-X-TARGETDURATION'));
  await archive.close();
  const reopened = await serveHandler(await emptyArchive(folder));
  const third = parse(await reopened.get(`${HLS}/live.m3u8`));
  expect(third.entries.map(({ address }) => address)).toEqual(second.entries.map(({ address }) => address));
  expect(Math.min(...numbered(third).values())).toBeGreaterThanOrEqual(Math.min(...numbers.values()));
});

/** The number of each file. */
function numbered({ tags, entries }: Playlist): Map<string, number> {
  const first = Number(tags.get('EXT-X-MEDIA-SEQUENCE'));
  return new Map(entries.map(({ address }, i) => [address, first + i]));
}

test('discontinuities that have left a live playlist are counted', async () => {
  const archive = await emptyArchive();
  const recorder = { segmentDurationMs: 4000 };
  const { get } = await serveHandler(archive);
  let before = 0;
  const known = new Map<string, number>();
  for (let i = 0; i < 7; i++) {
    await archive.import('door', CLIP, { start: wall(30 * i), recorder });
    const { tags, entries } = parse(await get(`${HLS}/live.m3u8`));
    let count = Number(tags.get('EXT-X-DISCONTINUITY-SEQUENCE'));
    expect(count).toBeGreaterThanOrEqual(before);
    before = count;
    for (const { address, discontinuity } of entries) {
      if (discontinuity) count++;
      // The discontinuity sequence number of a file stays what it is (6.2.2).
      expect(known.get(address) ?? count).toBe(count);
      known.set(address, count);
    }
  }
  expect(before).toBeGreaterThan(0);
});

test('a range that begins in a segment without a sync sample begins in an earlier one', async () => {
  const archive = await emptyArchive();
  const file = await makeMedia('hls-long-gops.mp4', [...video(), ...tone(), '-t', '12', ...X264, '-g', '250', ...AAC]);
  await archive.import('door', file, { start: START, recorder: { segmentBytes: 2 ** 16 } });
  const { get } = await serveHandler(archive);
  const whole = parse(await get(`${HLS}/index.m3u8?${range(0, 12)}`));
  const [, second] = whole.entries;
  const inside = (second?.utcMs ?? 0) - START_MS + 500;
  const { tags, entries } = parse(await get(`${HLS}/index.m3u8?${range(inside / 1000, inside / 1000 + 0.1)}`));
  expect(whole.entries.length).toBeGreaterThan(3);
  expect(entries.map(({ address }) => address)).toEqual(whole.entries.slice(0, 2).map(({ address }) => address));
  expect(tags.get('EXT-X-START')).toBe(`TIME-OFFSET=${inside / 1000},PRECISE=YES`);
  expect(tags.has('EXT-X-INDEPENDENT-SEGMENTS')).toBe(false);
});

test('behind a hole in a segment, which a bad disk has made, the times begin anew', async () => {
  const archive = await emptyArchive();
  await archive.import('door', await mediaFile('h264-aac'), { start: START });
  await archive.close();
  const [path = ''] = (await readdir(archive.root, { recursive: true })).filter((name) => name.endsWith('.mp4'));
  const segment = join(archive.root, path);
  await unseal(segment);
  const disk = await open(segment, 'r+');
  await disk.write(Buffer.alloc(4096), 0, 4096, Math.floor((await disk.stat()).size / 2));
  await disk.close();
  for (const end of ['', '-wal', '-shm']) await rm(join(archive.root, `catalog.db${end}`), { force: true });
  const { get } = await serveHandler(await emptyArchive(archive.root));
  const { entries } = parse(await get(`${HLS}/index.m3u8?${range(0, 60)}`));
  const [hole, ...others] = entries.flatMap(({ discontinuity }, i) => (discontinuity ? [i] : []));
  expect(others).toEqual([]);
  const [before, behind] = [entries[(hole ?? 0) - 1], entries[hole ?? 0]];
  // The pictures of less than a GOP are lost.
  const lostMs = (behind?.utcMs ?? 0) - ((before?.utcMs ?? 0) + 1000 * (before?.durationS ?? 0));
  expect(lostMs).toBeGreaterThan(0);
  expect(lostMs).toBeLessThanOrEqual(2000);
  expect((await get(`${HLS}/${behind?.address}`)).status).toBe(200);
});

test('a master playlist says what is in which playlist, and tracks=video leaves the sound out of all', async () => {
  const { get } = await served();
  const master = await get(`${HLS}/master.m3u8?${range(0, 100)}&tracks=video`);
  const lines = master.body.toString().trimEnd().split('\n');
  expect(lines.at(-2)).toMatch(/^#EXT-X-STREAM-INF:BANDWIDTH=[0-9]+,CODECS="avc1\.[0-9a-f]{6}",RESOLUTION=640x360$/);
  const { entries } = parse(await get(`${HLS}/${lines.at(-1)}`));
  expect(entries).toHaveLength(8);
  const [init, media] = await Promise.all([get(`${HLS}/${entries[0]?.map}`), get(`${HLS}/${entries[0]?.address}`)]);
  expect([init, media].map(({ status }) => status)).toEqual([200, 200]);
  expect([init, media].map(({ body }) => body.toString('latin1').split(/trak|traf/).length)).toEqual([2, 2]);
  expect((await get(`${HLS}/master.m3u8`)).body.toString()).toMatch(
    /CODECS="avc1\.[0-9a-f]{6},mp4a\.40\.2".*\nlive\.m3u8\n$/,
  );
});

test('a segment whose file is gone is left out, and what it held is not found', async () => {
  const { archive, get } = await served();
  const { entries } = parse(await get(`${HLS}/index.m3u8?${range(0, 16)}`));
  await archive.close();
  const files = await readdir(archive.root, { recursive: true });
  const [first = ''] = files.filter((path) => path.endsWith('.mp4')).toSorted();
  await rm(join(archive.root, first));
  const again = await serveHandler(await emptyArchive(archive.root));
  const left = parse(await again.get(`${HLS}/index.m3u8?${range(0, 16)}`)).entries;
  expect(left.map(({ address }) => address)).toEqual(entries.slice(1).map(({ address }) => address));
  expect(errorOf(await again.get(`${HLS}/${entries[0]?.address}`)).code).toBe('E_NOT_FOUND');
});

test('mistakes are told', async () => {
  const { get } = await served();
  const cases: readonly (readonly [string, string])[] = [
    [`index.m3u8`, 'E_QUERY'],
    [`index.m3u8?start=${START}`, 'E_QUERY'],
    [`index.m3u8?start=${START}&start=${START}&duration=1`, 'E_QUERY'],
    [`index.m3u8?${range(0, 9)}&tracks=audio`, 'E_QUERY'],
    [`index.m3u8?${range(9, 0)}`, 'E_RANGE_ORDER'],
    [`index.m3u8?${range(20, 50)}`, 'E_RANGE_EMPTY'],
    [`${'0'.repeat(32)}/0-100.m4s`, 'E_NOT_FOUND'],
    [`${'0'.repeat(32)}/init-${'0'.repeat(16)}.mp4`, 'E_NOT_FOUND'],
    ['other.m3u8', 'E_NOT_FOUND'],
  ];
  for (const [address, code] of cases)
    expect([address, errorOf(await get(`${HLS}/${address}`)).code]).toEqual([address, code]);
  expect(errorOf(await get('/api/cameras/gate/hls/live.m3u8')).code).toBe('E_CAMERA_UNKNOWN');
});
