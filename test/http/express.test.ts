/** The handler as middleware of Express 5: at the root and below a path, with routes of others before and behind it. */
import http, { type RequestListener } from 'node:http';
import { createRequire } from 'node:module';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { createHandler, type Handler, type HandlerOptions } from '../../src/http/handler.ts';
import { listen, WAYS } from '../sender/rig.ts';
import { FakeCamera, faceOf } from '../support/fake-camera.ts';
import { BIG, bytesOf, DOOR, fillArchive, START } from '../support/handler-fixture.ts';
import { errorOf, partsOf, request } from '../support/http-client.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

/** What of Express is used here; the package has no types of its own. */
type Next = (error?: unknown) => void;
type Route = (req: http.IncomingMessage, res: http.ServerResponse, next: Next) => void;
interface Application {
  use(path: string, handler: Handler | Route): void;
}
interface Express {
  (): Application & RequestListener;
  json(): Route;
  text(options: { readonly type: string }): Route;
}
const express = createRequire(import.meta.url)('express') as Express;

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
});

const mine: Route = (_req, res) => res.end('mine');
const behind: Route = (_req, res) => res.writeHead(418).end('behind');

async function serve(mount: string, native: (typeof WAYS)[number][1]) {
  const archive = await openArchive(folder, { native });
  const app = express();
  app.use('/mine', mine);
  app.use(mount, archive.handler());
  app.use('/', behind);
  const running = await listen(http.createServer(app));
  onTestFinished(async () => {
    await running[Symbol.asyncDispose]();
    await archive.close();
  });
  const get = (path: string, fields = {}) => request(`http://127.0.0.1:${running.port}${path}`, fields);
  return { archive, get };
}

const CASES = ['/', '/video/archive'].flatMap((mount) => WAYS.map(([kind, native]) => [mount, kind, native] as const));

test.each(CASES)(
  'mounted at %s, %s sender: same bytes, ranges and errors; what is not ours goes on',
  async (mount, _kind, native) => {
    const { archive, get } = await serve(mount, native);
    const below = mount === '/' ? '' : mount;
    const bytes = await bytesOf(archive, { camera: 'door', start: START, duration: 16 });
    const whole = await get(`${below}${DOOR}`);
    expect([whole.status, whole.headers['content-length'], whole.body.equals(bytes)]).toEqual([
      200,
      String(bytes.length),
      true,
    ]);
    const part = await get(`${below}${DOOR}`, { headers: { range: 'bytes=50-99999' } });
    expect([part.status, part.body.equals(bytes.subarray(50, 100_000))]).toEqual([206, true]);
    const several = await get(`${below}${DOOR}`, { headers: { range: 'bytes=50-99,-7' } });
    const parts = partsOf(several.headers['content-type'], several.body);
    expect([several.status, ...parts.map(({ body }) => body.toString('hex'))]).toEqual([
      206,
      bytes.subarray(50, 100).toString('hex'),
      bytes.subarray(-7).toString('hex'),
    ]);
    // The address of the manifest is relative: it holds wherever the handler is mounted.
    const manifest = new URL(/^<(.*?)>/.exec(String(whole.headers.link))?.[1] ?? '', `http://x${below}${DOOR}`);
    const described = await get(`${manifest.pathname}${manifest.search}`);
    expect(JSON.parse(described.body.toString())).toMatchObject({ lengthBytes: bytes.length });
    const head = await get(`${below}${DOOR}`, { method: 'HEAD' });
    expect([head.status, head.body.length, head.headers['content-length']]).toEqual([200, 0, String(bytes.length)]);
    expect((await get(`${below}${DOOR}`, { headers: { 'if-none-match': whole.headers.etag ?? '' } })).status).toBe(304);
    const unknown = await get(`${below}/api/cameras/nobody/timeline`);
    expect([unknown.status, errorOf(unknown).code]).toEqual([404, 'E_CAMERA_UNKNOWN']);
    expect((await get('/mine')).body.toString()).toBe('mine');
    expect((await get(`${below}/nothing/of/ours`)).status).toBe(418);
    expect((await get(`${below}/nothing`, { method: 'POST' })).status).toBe(418);
  },
);

test('mounted below a path, the addresses without it are not answered', async () => {
  const { get } = await serve('/video', WAYS[0]![1]);
  expect((await get('/api/cameras')).status).toBe(418);
  expect((await get('/video/api/cameras')).status).toBe(200);
});

test('answers larger than the buffers of a connection, one after the other on it', async () => {
  const { archive, get } = await serve('/', WAYS[0]![1]);
  const bytes = await bytesOf(archive, { camera: 'big', start: START, duration: 300 });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  onTestFinished(() => agent.destroy());
  const replies = [await get(BIG, { agent }), await get(BIG, { agent })];
  expect(replies.map(({ body }) => body.equals(bytes))).toEqual([true, true]);
  expect(replies[0]?.localPort).toBe(replies[1]?.localPort);
});

/** The handler below /video with a live camera `door`, behind what reads bodies. */
async function serveLive(options: HandlerOptions, ...readers: readonly Route[]) {
  const archive = await openArchive(folder);
  const camera = new FakeCamera('door');
  const app = express();
  for (const reader of readers) app.use('/', reader);
  app.use('/video', createHandler(faceOf(archive, { live: [camera] }), options));
  app.use('/', behind);
  const running = await listen(http.createServer(app));
  onTestFinished(async () => {
    await running[Symbol.asyncDispose]();
    await archive.close();
  });
  const ask = (path: string, fields = {}) => request(`http://127.0.0.1:${running.port}/video${path}`, fields);
  const post = (body: string) =>
    ask('/api/cameras/door/recording', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  return { camera, ask, post };
}

const READERS: readonly (readonly [string, readonly Route[]])[] = [
  ['nothing', []],
  ['express.json()', [express.json()]],
  ['express.text()', [express.text({ type: 'application/json' })]],
];

test.each(READERS)('live cameras, where %s has read the body before', async (_name, readers) => {
  const { camera, ask, post } = await serveLive({}, ...readers);
  const on = await post('{"recording": true, "durationSeconds": 2}');
  expect([on.status, JSON.parse(on.body.toString())]).toEqual([200, { camera: 'door', recording: true, wanted: true }]);
  expect(camera.calls).toEqual([['start', { forMs: 2000 }]]);
  for (const body of ['{}', '']) expect(errorOf(await post(body)).code).toBe('E_QUERY');
  expect((await ask('/api/cameras/door/health')).status).toBe(200);
  const state = await ask('/mod_nvr/channel_state?stream=door&seq=3');
  expect(state.body.toString()).toBe('{ "seq": "3", "recording": true }');
  expect((await ask('/mod_nvr_admin/rec_off?stream=door')).status).toBe(200);
  expect((await ask('/mod_nvr_admin/rec_pause?stream=door')).status).toBe(418);
  expect(camera.calls).toHaveLength(2);
});

test('with `control: false` what would change something goes on to others', async () => {
  const { camera, ask, post } = await serveLive({ control: false });
  expect((await ask('/mod_nvr_admin/rec_on?stream=door')).status).toBe(418);
  expect((await ask('/mod_nvr/channel_state?stream=door')).status).toBe(200);
  expect((await post('{"recording": true}')).status).toBe(405);
  expect(camera.calls).toEqual([]);
});
