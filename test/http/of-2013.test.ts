/** The addresses of the 2013 system, asked by curl: what programs that were written for it see. */
import http from 'node:http';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { createHandler } from '../../src/http/handler.ts';
import { listen } from '../sender/rig.ts';
import { type Cameras, FakeCamera, faceOf } from '../support/fake-camera.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  const archive = await openArchive(folder);
  await archive.import('door', CLIP, { start: START });
  await archive.close();
});

/** A server, and a curl that prints what it gets: status, header fields and body. */
async function prepare(cameras: Cameras) {
  const archive = await openArchive(folder);
  onTestFinished(() => archive.close());
  const running = await listen(http.createServer(createHandler(faceOf(archive, cameras), {})));
  onTestFinished(() => running[Symbol.asyncDispose]());
  const curl = async (path: string, ...args: readonly string[]) => {
    const { stdout } = await run('curl', ['-si', ...args, `http://127.0.0.1:${running.port}${path}`]);
    const bodyAt = stdout.indexOf('\r\n\r\n') + 4;
    const [header, bytes] = [stdout.subarray(0, bodyAt).toString('latin1'), stdout.subarray(bodyAt)];
    const status = Number(header.slice('HTTP/1.1 '.length, 12));
    const field = (name: string) => new RegExp(`^${name}: (.*)\r$`, 'mi').exec(header)?.[1];
    return { status, type: field('content-type'), field, bytes, body: bytes.toString() };
  };
  const codeOf = async (path: string, ...args: readonly string[]) => {
    const { status, body } = await curl(path, ...args);
    return [status, (JSON.parse(body) as { error: { code: string } }).error.code];
  };
  return { curl, codeOf };
}

const from = (site: string) => ['-H', `Sec-Fetch-Site: ${site}`];
const ON = '/mod_nvr_admin/rec_on?stream=door';
const OFF = '/mod_nvr_admin/rec_off?stream=door';
const STATE = '/mod_nvr/channel_state?stream=door';

describe('rec_on, rec_off, channel_state', () => {
  test('turn recording on and off, and tell of it, word for word', async () => {
    const door = new FakeCamera('door');
    const { curl } = await prepare({ live: [door] });
    const off = '{ "seq": "7", "recording": false }';
    expect((await curl(`${STATE}&seq=7`)).body).toBe(off);
    const on = await curl(`${ON}&seq=6`);
    expect([on.status, on.type, on.body]).toEqual([
      200,
      'text/html; charset=utf-8',
      '{ "seq": "6", "recording": true }',
    ]);
    expect([on.field('cache-control'), on.field('content-length')]).toEqual(['no-store', String(on.body.length)]);
    expect((await curl(`${STATE}&seq=abc`)).body).toBe('{ "seq": "abc", "recording": true }');
    // It goes on for the post-event time, but what was asked for has been done.
    expect((await curl(`${OFF}&seq=7`)).body).toBe(off);
    expect((await curl(STATE)).body).toBe('{ "seq": "", "recording": true }');
    door.endPostEvent();
    expect((await curl(`${STATE}&seq=7`)).body).toBe(off);
    expect(door.calls).toEqual([['start', {}], ['stop']]);
  });

  test('of a camera that cannot be reached now: the wish is taken, and nothing is recorded', async () => {
    const { curl } = await prepare({ live: [new FakeCamera('door', { state: 'connecting' })] });
    expect((await curl(`${ON}&seq=1`)).body).toBe('{ "seq": "1", "recording": true }');
    expect((await curl(`${STATE}&seq=1`)).body).toBe('{ "seq": "1", "recording": false }');
  });

  test('seq comes back as the text it was, and never as markup', async () => {
    const { curl } = await prepare({ live: [new FakeCamera('door')] });
    const seqs = ['<script>alert(1)</script>&amp;', '"\\\n\u0000', 'é\u2028😀', '7'.repeat(64)];
    for (const seq of seqs) {
      const { body, type } = await curl(`${STATE}&seq=${encodeURIComponent(seq)}`);
      expect(JSON.parse(body)).toEqual({ seq, recording: false });
      expect(body).not.toMatch(/[<>&]/);
      expect(type).toBe('text/html; charset=utf-8');
    }
  });

  test('what cannot be answered: seq too long or twice, another camera, another method', async () => {
    const door = new FakeCamera('door');
    const { curl, codeOf } = await prepare({ live: [door] });
    for (const address of [ON, OFF, STATE]) {
      expect(await codeOf(`${address}&seq=${'7'.repeat(65)}`)).toEqual([400, 'E_QUERY']);
      expect(await codeOf(`${address}&seq=1&seq=2`)).toEqual([400, 'E_QUERY']);
      expect(await codeOf(`${address}&stream=yard`)).toEqual([400, 'E_QUERY']);
      expect(await codeOf(address.replace('door', 'nobody'))).toEqual([404, 'E_CAMERA_UNKNOWN']);
      expect(await codeOf(address.replace('stream', 'channel'))).toEqual([404, 'E_CAMERA_UNKNOWN']);
      expect(await codeOf(address, '-X', 'POST')).toEqual([405, 'E_METHOD']);
    }
    expect((await curl(STATE, '-X', 'POST')).field('allow')).toBe('GET, HEAD');
    expect((await curl(ON, '-X', 'POST')).field('allow')).toBe('GET');
    // Whoever looks whether the address is there must not switch anything.
    expect((await curl(ON, '--head')).status).toBe(405);
    expect((await curl(STATE, '--head')).status).toBe(200);
    expect(door.calls).toEqual([]);
  });

  test('of a camera that is recorded by other means, or not at all: its state can be asked', async () => {
    const both = await prepare({ recorded: ['door', 'yard'] });
    expect((await both.curl(`${STATE}&seq=1`)).body).toBe('{ "seq": "1", "recording": true }');
    expect((await both.curl('/mod_nvr/channel_state?stream=yard')).body).toBe('{ "seq": "", "recording": true }');
    const none = await prepare({});
    expect((await none.curl(`${STATE}&seq=1`)).body).toBe('{ "seq": "1", "recording": false }');
    for (const { codeOf } of [both, none]) {
      expect(await codeOf(ON)).toEqual([409, 'E_CAMERA_NOT_LIVE']);
      expect(await codeOf(OFF)).toEqual([409, 'E_CAMERA_NOT_LIVE']);
    }
  });

  test('a picture or a link in a page of another site changes nothing', async () => {
    const door = new FakeCamera('door');
    const { curl, codeOf } = await prepare({ live: [door] });
    for (const site of ['cross-site', 'same-site']) {
      expect(await codeOf(ON, ...from(site))).toEqual([403, 'E_CROSS_SITE']);
      expect(await codeOf(OFF, ...from(site))).toEqual([403, 'E_CROSS_SITE']);
      expect((await curl(STATE, ...from(site))).status).toBe(200);
    }
    expect(door.calls).toEqual([]);
    for (const site of ['same-origin', 'none']) expect((await curl(ON, ...from(site))).status).toBe(200);
    expect(door.calls).toHaveLength(2);
  });
});

describe('the others', () => {
  test('unixtime: plain seconds', async () => {
    const { curl } = await prepare({});
    const before = Math.floor(Date.now() / 1000);
    const { status, type, body, field } = await curl('/mod_nvr/unixtime');
    expect([status, type, field('cache-control')]).toEqual([200, 'text/plain; charset=utf-8', 'no-store']);
    expect(body).toMatch(/^[0-9]+$/);
    expect(Number(body)).toBeGreaterThanOrEqual(before);
    expect(Number(body)).toBeLessThanOrEqual(Date.now() / 1000);
  });

  test('any name that ends in .mp4 is the film of the query, as at /mod_nvr/file', async () => {
    const { curl, codeOf } = await prepare({});
    const query = `stream=door&start=${Date.parse(START) / 1000}&duration=5`;
    const film = await curl(`/mod_nvr/file?${query}`);
    expect([film.status, film.type]).toEqual([200, 'video/mp4']);
    for (const name of ['film.mp4', 'a%20b.MP4.mp4', '1.mp4']) {
      const named = await curl(`/mod_nvr/${name}?${query}`);
      expect([named.status, named.field('etag'), named.field('link')]).toEqual([
        200,
        film.field('etag'),
        film.field('link'),
      ]);
      expect(named.bytes.equals(film.bytes)).toBe(true);
    }
    for (const name of ['.mp4', 'film.mp4/x', 'a/film.mp4', 'film.avi', 'film.mp4x']) {
      expect(await codeOf(`/mod_nvr/${name}?${query}`)).toEqual([404, 'E_NOT_FOUND']);
    }
  });
});
