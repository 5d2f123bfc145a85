/**
 * Conditions and ranges over a real connection (RFC 9110 sections 13 to 15): status, header fields and bytes of what the
 * handler answers, the same with the addon and with the twin.
 */
import { PassThrough } from 'node:stream';
import * as fc from 'fast-check';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { ArchiveFace } from '../../src/http/exchange.ts';
import type { ExportOptions } from '../../src/http/export-query.ts';
import { WAYS } from '../sender/rig.ts';
import { bytesOf, CLIP, DOOR, fillArchive, serveHandler, START } from '../support/handler-fixture.ts';
import { faceOf } from '../support/fake-camera.ts';
import { errorOf, exchangeRaw, partsOf, type Reply } from '../support/http-client.ts';
import { mediaFile } from '../support/media.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
});

const door = { camera: 'door', start: START, duration: 16 };
const BEFORE = 'Sat, 31 Jan 2026 12:00:15 GMT';
const THEN = 'Sat, 31 Jan 2026 12:00:16 GMT';

async function serve(native = WAYS[0]?.[1]) {
  const archive = await openArchive(folder, native === undefined ? {} : { native });
  onTestFinished(() => archive.close());
  return { archive, ...(await serveHandler(archive)) };
}

/** Header fields of an answer but those that differ from one to the next. */
function fieldsOf({ headers }: Reply): Record<string, unknown> {
  const { date: _date, ...rest } = headers;
  return rest;
}

describe.each(WAYS)('with the %s sender', (_kind, native) => {
  test('several ranges: each a part with its place, in the order asked for, of exact length', async () => {
    const { archive, get } = await serve(native);
    const bytes = await bytesOf(archive, door);
    const range = 'bytes=5000-70000, 0-99,-20, 100-149, 99999999999-';
    const reply = await get(DOOR, { headers: { range } });
    expect(reply.status).toBe(206);
    expect(reply.headers).toMatchObject({ 'content-length': String(reply.body.length), 'accept-ranges': 'bytes' });
    expect(reply.headers['content-range']).toBeUndefined();
    const { length } = bytes;
    const wanted = [
      [5000, 70_000],
      [0, 149],
      [length - 20, length - 1],
    ] as const;
    const parts = partsOf(reply.headers['content-type'], reply.body);
    expect(parts.map(({ headers }) => headers)).toEqual(
      wanted.map(([first, last]) => ({
        'content-type': 'video/mp4',
        'content-range': `bytes ${first}-${last}/${length}`,
      })),
    );
    expect(parts.map(({ body }, i) => body.equals(bytes.subarray(wanted[i]?.[0], (wanted[i]?.[1] ?? 0) + 1)))).toEqual(
      wanted.map(() => true),
    );
    const again = await get(DOOR, { headers: { range } });
    expect([fieldsOf(again), again.body.equals(reply.body)]).toEqual([fieldsOf(reply), true]);
  });

  test('several ranges of which one is left are one range', async () => {
    const { get } = await serve(native);
    for (const range of ['bytes=0-9,5-19', 'bytes=0-19,99999999999-', 'bytes=10-19,0-9']) {
      const { status, headers, body } = await get(DOOR, { headers: { range } });
      expect([status, headers['content-type'], body.length]).toEqual([206, 'video/mp4', 20]);
      expect(headers['content-range']).toMatch(/^bytes 0-19\//);
    }
  });

  test('random Range fields: the bytes that are marked, in parts that do not touch', async () => {
    const { archive, get } = await serve(native);
    const bytes = await bytesOf(archive, door);
    const first = fc.nat(bytes.length);
    const spec = fc.oneof(
      fc.tuple(first, fc.nat(60_000)).map(([from, more]) => [from, from + more] as const),
      fc.integer({ min: 1, max: 5000 }).map((count) => [bytes.length - count, bytes.length - 1] as const),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(spec, { minLength: 2, maxLength: 6 }), async (specs) => {
        const range = `bytes=${specs.map(([from, to]) => `${from}-${to}`).join(',')}`;
        const { status, headers, body } = await get(DOOR, { headers: { range } });
        const marks = new Uint8Array(bytes.length);
        for (const [from, to] of specs) marks.fill(1, from, to + 1);
        if (!marks.includes(1)) return expect(status).toBe(416);
        expect([status, Number(headers['content-length'])]).toEqual([206, body.length]);
        const parts = headers['content-range'] === undefined ? partsOf(headers['content-type'], body) : undefined;
        for (const part of parts ?? [{ headers, body }]) expectMarked(part, bytes, marks);
        expect(marks.includes(1)).toBe(false);
      }),
      { numRuns: 40 },
    );
  });

  test('what no part may be is ignored or refused', async () => {
    const { archive, get } = await serve(native);
    const { length } = await bytesOf(archive, door);
    const many = `bytes=${Array.from({ length: 65 }, (_, i) => `${i * 2}-${i * 2}`).join(',')}`;
    for (const range of ['bytes=9-5', 'lines=0-1', 'bytes=0-1,9-5', many]) {
      const { status, headers, body } = await get(DOOR, { headers: { range } });
      expect([status, headers['content-range'], body.length]).toEqual([200, undefined, length]);
    }
    for (const range of [`bytes=${length}-`, `bytes=${length}-,-0`]) {
      const reply = await get(DOOR, { headers: { range } });
      expect([reply.status, errorOf(reply).code]).toEqual([416, 'E_RANGE_UNSATISFIABLE']);
      expect(reply.headers['content-range']).toBe(`bytes */${length}`);
      // They would be those of the footage, and this is none of it.
      for (const name of ['etag', 'last-modified', 'content-disposition', 'link'])
        expect(reply.headers[name]).toBeUndefined();
    }
  });
});

test('by hand: a session says the type and the length of several ranges, and sends them', async () => {
  const { archive } = await serve();
  const session = await archive.session(door);
  const ranges = [
    { start: 70_000, end: 90_000 },
    { start: 0, end: 10 },
  ];
  const { contentType, length } = session.multipart(ranges);
  const target = new PassThrough();
  const chunks = target.toArray();
  await session.send(target, { ranges });
  target.end();
  const body = Buffer.concat(await chunks);
  expect(body.length).toBe(length);
  expect(partsOf(contentType, body).map((part) => part.body.length)).toEqual([20_000, 10]);
  await expect(session.send(target, { ranges, range: { start: 0, end: 1 } })).rejects.toThrow(TypeError);
  await expect(session.send(target, { ranges: [] })).rejects.toThrow(RangeError);
});

/** Takes the marks of a part's bytes away: it holds marked bytes, and what is in front of and behind it is not marked. */
function expectMarked(part: Pick<Reply, 'headers' | 'body'>, bytes: Buffer, marks: Uint8Array): void {
  const [, first, last, length] = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(part.headers['content-range'] ?? '') ?? [];
  const [start, end] = [Number(first), Number(last) + 1];
  expect(Number(length)).toBe(bytes.length);
  expect(part.body.equals(bytes.subarray(start, end))).toBe(true);
  expect(marks.subarray(start, end).includes(0)).toBe(false);
  expect([marks[start - 1] ?? 0, marks[end] ?? 0]).toEqual([0, 0]);
  marks.fill(0, start, end);
}

describe('conditions', () => {
  test('each verdict, with and without a range, for GET and HEAD', async () => {
    const { get } = await serve();
    const whole = await get(DOOR);
    const { etag = '' } = whole.headers;
    const range = 'bytes=0-9';
    const cases: readonly (readonly [Record<string, string>, number, number])[] = [
      [{ 'if-none-match': `"other", W/${etag}` }, 304, 0],
      [{ 'if-none-match': '*' }, 304, 0],
      [{ 'if-none-match': etag, range }, 304, 0],
      [{ 'if-none-match': '"other"', range }, 206, 10],
      [{ 'if-modified-since': THEN }, 304, 0],
      [{ 'if-modified-since': BEFORE, range }, 206, 10],
      [{ 'if-none-match': '"other"', 'if-modified-since': THEN, range }, 206, 10],
      [{ 'if-match': `"a,b", ${etag}`, range }, 206, 10],
      [{ 'if-match': '*', range }, 206, 10],
      [{ 'if-match': `W/${etag}` }, 412, -1],
      [{ 'if-match': '"other"', 'if-none-match': etag, range }, 412, -1],
      [{ 'if-unmodified-since': BEFORE, range }, 412, -1],
      [{ 'if-unmodified-since': THEN, range }, 206, 10],
      [{ 'if-match': etag, 'if-unmodified-since': BEFORE, range }, 206, 10],
      [{ 'if-range': etag, range }, 206, 10],
      [{ 'if-range': `W/${etag}`, range }, 200, whole.body.length],
      [{ 'if-range': '"other"', range }, 200, whole.body.length],
      [{ 'if-range': THEN, range }, 200, whole.body.length],
      [{ 'if-range': '"other"', range: 'bytes=99999999999-' }, 200, whole.body.length],
      [{ 'if-range': '"other"', 'if-none-match': etag, range }, 304, 0],
    ];
    for (const [headers, status, length] of cases) {
      const reply = await get(DOOR, { headers });
      const label = JSON.stringify(headers);
      expect([reply.status, status === 412 ? -1 : reply.body.length], label).toEqual([status, length]);
      if (status === 412) expect(errorOf(reply).code, label).toBe('E_PRECONDITION');
      else expect(reply.headers.etag, label).toBe(etag);
      // HEAD has no ranges; of everything else it says the same.
      const head = await get(DOOR, { method: 'HEAD', headers });
      expect([head.status, head.body.length], label).toEqual([status === 206 ? 200 : status, 0]);
    }
  });

  test('304 has the fields that keep a stored answer fresh, and no other', async () => {
    const { get } = await serve();
    const { headers } = await get(DOOR);
    const reply = await get(DOOR, { headers: { 'if-none-match': '*' } });
    const { connection: _connection, 'keep-alive': _keepAlive, ...rest } = fieldsOf(reply);
    expect(rest).toEqual({ etag: headers.etag, 'cache-control': headers['cache-control'] });
  });

  test('206 has the fields of 200; to whoever goes on with an answer, no date', async () => {
    const { get } = await serve();
    const whole = fieldsOf(await get(DOOR));
    const part = fieldsOf(await get(DOOR, { headers: { range: 'bytes=0-9' } }));
    const length = String(whole['content-length']);
    expect(part).toEqual({ ...whole, 'content-length': '10', 'content-range': `bytes 0-9/${length}` });
    const rest = fieldsOf(await get(DOOR, { headers: { range: 'bytes=0-9', 'if-range': String(whole['etag']) } }));
    const { 'last-modified': _date, ...without } = part;
    expect(rest).toEqual(without);
  });

  test('a request that would fail without conditions fails with them (13.2.1)', async () => {
    const { get } = await serve();
    const path = `/api/cameras/nobody/export.mp4?start=${START}&duration=5`;
    expect((await get(path, { headers: { 'if-none-match': '*' } })).status).toBe(404);
    expect((await get(path, { headers: { 'if-match': '"x"' } })).status).toBe(404);
  });

  test('lists may come in several lines, dates may not', async () => {
    const { port, get } = await serve();
    const { etag } = (await get(DOOR)).headers;
    const statusWith = async (...lines: string[]) => {
      const text = [`HEAD ${DOOR} HTTP/1.1`, 'Host: x', 'Connection: close', ...lines, '', ''].join('\r\n');
      return (await exchangeRaw(port, text)).toString('latin1').split(' ')[1];
    };
    expect(await statusWith('If-None-Match: "other"', `If-None-Match: ${etag}`)).toBe('304');
    expect(await statusWith(`If-Match: ${etag}`, 'If-Match: "other"')).toBe('200');
    expect(await statusWith(`If-Modified-Since: ${THEN}`)).toBe('304');
    expect(await statusWith(`If-Modified-Since: ${THEN}`, `If-Modified-Since: ${THEN}`)).toBe('200');
  });

  test('a range that ends ahead of the clock has no date', async () => {
    const { archive, get } = await serve();
    const ahead = new Date(Date.now() + 3_600_000).toISOString();
    await archive.import('ahead', CLIP, { start: ahead });
    const path = `/api/cameras/ahead/export.mp4?start=${ahead}&duration=5`;
    const { status, headers } = await get(path, { headers: { 'if-unmodified-since': BEFORE } });
    expect([status, headers['last-modified']]).toEqual([200, undefined]);
    const manifest = JSON.parse((await get(path.replace('.mp4', '.json'))).body.toString()) as object;
    expect(manifest).not.toHaveProperty('lastModified');
  });
});

describe('HEAD has the fields of GET, and no body', () => {
  test.each([
    DOOR,
    `${DOOR}&download`,
    DOOR.replace('.mp4', '.json'),
    `/mod_nvr/file?stream=door&start=${START}&duration=16`,
    '/api/cameras',
    '/api/cameras/door/timeline',
    '/healthz',
    `${DOOR}&gaps=perhaps`,
    '/api/cameras/nobody/timeline',
    '/nothing',
  ])('%s', async (path) => {
    const { get } = await serve();
    const [whole, head] = [await get(path), await get(path, { method: 'HEAD' })];
    expect([head.status, head.body.length]).toEqual([whole.status, 0]);
    expect(fieldsOf(head)).toEqual(fieldsOf(whole));
    expect(head.headers['content-length']).toBe(String(whole.body.length));
  });

  test('also where a range is asked for: it is for GET alone', async () => {
    const { get } = await serve();
    const head = await get(DOOR, { method: 'HEAD', headers: { range: 'bytes=0-9' } });
    expect([head.status, fieldsOf(head)]).toEqual([200, fieldsOf(await get(DOOR))]);
  });
});

/** Where the answer's Link leads to. */
function linkOf(reply: Reply, from: string): URL {
  const [, address = ''] =
    /^<([^>]+)>; rel="describedby"; type="application\/json"$/.exec(String(reply.headers.link)) ?? [];
  return new URL(address, `http://x${from}`);
}

describe('the manifest', () => {
  test.each([
    ['of an export', `/api/cameras/door/export.mp4?start=${START}&duration=70&download&x=%22%3E%2C`],
    ['at the address of 2013', `/mod_nvr/file?stream=door&start=${START}&duration=70`],
  ])('%s: linked from the answer, and leading back to it', async (_name, path) => {
    const { archive, get } = await serve();
    const footage = await get(path);
    const link = linkOf(footage, path);
    const reply = await get(`${link.pathname}${link.search}`);
    expect([reply.status, reply.headers['content-type']]).toEqual([200, 'application/json; charset=utf-8']);
    const manifest = JSON.parse(reply.body.toString()) as { href: string };
    const startUtcMs = Date.parse(START);
    expect(manifest).toMatchObject({
      ...(await archive.session({ camera: 'door', start: START, duration: 70 })).manifest,
      camera: 'door',
      missing: [{ startUtcMs: startUtcMs + 16_000, endUtcMs: startUtcMs + 60_000 }],
      lengthBytes: footage.body.length,
      etag: footage.headers.etag,
      lastModified: new Date(footage.headers['last-modified'] ?? '').toISOString(),
    });
    const back = new URL(manifest.href, link);
    const same = await get(`${back.pathname}${back.search}`);
    expect(same.body.equals(footage.body)).toBe(true);
  });

  test('is refused like its footage', async () => {
    const { get } = await serve();
    const reply = await get(`/api/cameras/door/export.json?start=${START}&duration=70&gaps=error`);
    expect([reply.status, errorOf(reply).code]).toEqual([409, 'E_GAP']);
  });
});

/** The targets of an answer's Link field, by relation. */
function relationsOf({ headers }: Reply): Map<string, string> {
  const links = [...String(headers.link).matchAll(/<([^>]+)>; rel="([^"]+)"/g)];
  return new Map(links.map(([, address = '', relation = '']) => [relation, address]));
}

describe('an answer in parts', () => {
  beforeAll(async () => {
    const archive = await openArchive(folder);
    await archive.import('mixed', CLIP, { start: START });
    await archive.import('mixed', await mediaFile('h265-opus'), { start: '2026-01-31T13:00:00Z' });
    await archive.close();
  });

  test.each([
    ['of an export', `/api/cameras/mixed/export.mp4?start=${START}&duration=4000&changes=split`],
    ['at the address of 2013', `/mod_nvr/file?stream=mixed&start=${START}&duration=4000&changes=split&part=1`],
  ])('%s: each leads to the next, the last to none', async (_name, path) => {
    const { get } = await serve();
    const first = await get(path);
    const next = new URL(relationsOf(first).get('next') ?? '', `http://x${path}`);
    expect([next.pathname, next.searchParams.get('part')]).toEqual(['/api/cameras/mixed/export.mp4', '2']);
    const second = await get(`${next.pathname}${next.search}`);
    expect([second.status, second.headers.etag === first.headers.etag]).toEqual([200, false]);
    expect([...relationsOf(second).keys()]).toEqual(['describedby']);
    const manifest = new URL(relationsOf(second).get('describedby') ?? '', next);
    const { body } = await get(`${manifest.pathname}${manifest.search}`);
    const length = second.body.length;
    expect(JSON.parse(body.toString())).toMatchObject({ part: 2, parts: 2, lengthBytes: length });
    const behind = await get(`${next.pathname}${next.search}`.replace('part=2', 'part=3'));
    expect([behind.status, errorOf(behind).code]).toEqual([404, 'E_RANGE_EMPTY']);
  });

  test('options that do not go together are refused', async () => {
    const { get } = await serve();
    for (const clash of [
      'part=1',
      'changes=error&part=1',
      'speed=8',
      'keyframes=0&speed=8',
      'keyframes=1&tracks=audio',
    ]) {
      const reply = await get(`${DOOR}&${clash}`);
      expect([reply.status, errorOf(reply).code], clash).toEqual([400, 'E_QUERY']);
    }
  });
});

test('an answer of sound alone says so, whole and in ranges', async () => {
  const { get } = await serve();
  expect((await get(DOOR)).headers['content-type']).toBe('video/mp4');
  expect((await get(`${DOOR}&tracks=audio`)).headers['content-type']).toBe('audio/mp4');
  const { headers, body } = await get(`${DOOR}&tracks=audio`, { headers: { range: 'bytes=0-9,20-29' } });
  const types = partsOf(headers['content-type'], body).map((part) => part.headers['content-type']);
  expect(types).toEqual(['audio/mp4', 'audio/mp4']);
});

/** A handler whose archive notes what it is asked for, and gives the first 16 s of the door. */
async function noting() {
  const asked: ({ readonly camera: string } & ExportOptions)[] = [];
  const { archive } = await serve();
  const session: ArchiveFace['session'] = (request) => {
    asked.push(request);
    return archive.session(door);
  };
  return { asked, ...(await serveHandler({ ...faceOf(archive), session })) };
}

describe('what is asked for', () => {
  test('goes to the archive, and nothing that was not given; a telling name comes back', async () => {
    const { asked, get } = await noting();
    const start = `start=${START}&duration=16`;
    const names = new Map([
      ['', 'door_2026-01-31T12-00-00Z_16s.mp4'],
      ['&tracks=audio', 'door_2026-01-31T12-00-00Z_16s_audio.mp4'],
      ['&keyframes=1&speed=8', 'door_2026-01-31T12-00-00Z_16s_keyframes.mp4'],
      ['&changes=split&part=2', 'door_2026-01-31T12-00-00Z_16s_part2.mp4'],
      ['&start=next&format=fmp4&gaps=freeze', 'door_2026-01-31T12-00-00Z_16s.mp4'],
    ]);
    for (const [query, name] of names) {
      const { headers } = await get(`/api/cameras/door/export.mp4?${start}${query}`, { method: 'HEAD' });
      expect(headers['content-disposition']).toBe(`inline; filename="${name}"`);
    }
    const plain = { camera: 'door', start: START, duration: '16' };
    expect(asked).toEqual([
      plain,
      { ...plain, tracks: 'audio' },
      { ...plain, keyframes: true, speed: 8 },
      { ...plain, changes: 'split', part: 2 },
      { ...plain, begin: 'next', format: 'fmp4', gaps: 'freeze' },
    ]);
  });

  test('a range of fractions of seconds has a name of its own', async () => {
    const { get } = await serve();
    const path = '/api/cameras/door/export.mp4?start=2026-01-31T12:00:01.5Z&duration=0.25&download';
    const { headers } = await get(path);
    expect(headers['content-disposition']).toBe('attachment; filename="door_2026-01-31T12-00-01.500Z_0.25s.mp4"');
  });
});
