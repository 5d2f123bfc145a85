/** Live cameras over HTTP: the list, their health, and their switch. The cameras are made up, archive and sockets are real. */
import { once } from 'node:events';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { createHandler, type HandlerOptions } from '../../src/http/handler.ts';
import { listen, until } from '../sender/rig.ts';
import { type Cameras, FakeCamera, faceOf } from '../support/fake-camera.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { errorOf, type Reply, request } from '../support/http-client.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  const archive = await openArchive(folder);
  await archive.import('door', CLIP, { start: START });
  await archive.import('old', CLIP, { start: START });
  await archive.close();
});

/** A server of the archive and these cameras: `door` and `old` have footage. */
async function serve(cameras: Cameras = {}, options: HandlerOptions = {}, server: http.ServerOptions = {}) {
  const archive = await openArchive(folder);
  onTestFinished(() => archive.close());
  const errors: unknown[] = [];
  const handler = createHandler(faceOf(archive, cameras), { onError: (error) => errors.push(error), ...options });
  const running = await listen(http.createServer(server, handler));
  onTestFinished(() => running[Symbol.asyncDispose]());
  const ask = (path: string, fields = {}) => request(`http://127.0.0.1:${running.port}${path}`, fields);
  return { errors, port: running.port, ask, post: (body: unknown, fields = {}) => ask(SWITCH, postOf(body, fields)) };
}

const SWITCH = '/api/cameras/door/recording';
const JSON_FIELDS = { 'content-type': 'application/json' };

/** A string is sent as it is. */
const postOf = (body: unknown, fields: Readonly<Record<string, string>> = {}) => ({
  method: 'POST',
  headers: { ...JSON_FIELDS, ...fields },
  body: typeof body === 'string' ? body : JSON.stringify(body),
});

const jsonOf = ({ body }: Reply): unknown => JSON.parse(body.toString());
const refusalOf = (reply: Reply) => [reply.status, errorOf(reply).code];

describe('the list', () => {
  test('tells of each camera whether it is live, and how; also of one without any footage yet', async () => {
    const error = { code: 'E_INPUT_MISSING', message: 'No route to it: check the cable.', sinceUtcMs: 7 } as const;
    const live = [
      new FakeCamera('yard', { state: 'waiting', wanted: true, error }),
      new FakeCamera('door', { wanted: true, recording: true }),
    ];
    const { ask } = await serve({ live });
    const extent = { startUtcMs: Date.parse(START), endUtcMs: Date.parse(START) + 16_000, recording: false };
    const reply = await ask('/api/cameras');
    expect(reply.headers['cache-control']).toBe('no-store');
    expect(jsonOf(reply)).toEqual({
      cameras: [
        { name: 'door', ...extent, live: { state: 'online', recording: true, wanted: true, error: null } },
        { name: 'old', ...extent, live: null },
        {
          ...{ name: 'yard', startUtcMs: null, endUtcMs: null, recording: false },
          live: { state: 'waiting', recording: false, wanted: true, error },
        },
      ],
    });
  });
});

describe('health', () => {
  test('is told whole, as the camera has it; HEAD has its header alone', async () => {
    const door = new FakeCamera('door', { wanted: true });
    const { ask } = await serve({ live: [door] });
    const reply = await ask('/api/cameras/door/health');
    expect([reply.status, reply.headers['content-type'], reply.headers['cache-control']]).toEqual([
      200,
      'application/json; charset=utf-8',
      'no-store',
    ]);
    expect(jsonOf(reply)).toEqual(door.health());
    const head = await ask('/api/cameras/door/health', { method: 'HEAD' });
    expect([head.status, head.body.length, head.headers['content-length']]).toEqual([200, 0, `${reply.body.length}`]);
  });

  test('of a camera that is not live, of none, and of what is no name, it is refused', async () => {
    const { ask } = await serve({ live: [new FakeCamera('door')], recorded: ['yard'] });
    const refusals = async (name: string) => refusalOf(await ask(`/api/cameras/${name}/health`));
    expect(await refusals('old')).toEqual([409, 'E_CAMERA_NOT_LIVE']);
    expect(await refusals('yard')).toEqual([409, 'E_CAMERA_NOT_LIVE']);
    expect(await refusals('nobody')).toEqual([404, 'E_CAMERA_UNKNOWN']);
    expect(await refusals('..%2Fdoor')).toEqual([400, 'E_CAMERA_NAME']);
    expect(await refusals('%ZZ')).toEqual([400, 'E_CAMERA_NAME']);
    const post = await ask('/api/cameras/door/health', postOf({}));
    expect([...refusalOf(post), post.headers.allow]).toEqual([405, 'E_METHOD', 'GET, HEAD']);
  });
});

describe('the switch', () => {
  test('turns recording on, for a while, and off, and tells what it came to', async () => {
    const door = new FakeCamera('door');
    const { ask, post } = await serve({ live: [door] });
    const idle = { camera: 'door', recording: false, wanted: false };
    expect(jsonOf(await ask(SWITCH))).toEqual(idle);
    const on = await post({ recording: true });
    expect([on.status, on.headers['cache-control']]).toEqual([200, 'no-store']);
    expect(jsonOf(on)).toEqual({ camera: 'door', recording: true, wanted: true });
    // The post-event time is not over.
    expect(jsonOf(await post({ recording: false }))).toEqual({ camera: 'door', recording: true, wanted: false });
    door.endPostEvent();
    expect(jsonOf(await ask(SWITCH))).toEqual(idle);
    await post({ recording: true, durationSeconds: 1.5 });
    await post({ durationSeconds: 0.0001, recording: true }, { 'content-type': 'Application/JSON; charset=utf-8' });
    const starts = [{}, { forMs: 1500 }, { forMs: 1 }].map((options) => ['start', options]);
    expect(door.calls).toEqual([starts[0], ['stop'], starts[1], starts[2]]);
    const head = await ask(SWITCH, { method: 'HEAD' });
    expect([head.status, head.body.length, door.calls.length]).toEqual([200, 0, 4]);
  });

  test('of a camera that cannot be reached now says that nothing is recorded, though it is wanted', async () => {
    const { post } = await serve({ live: [new FakeCamera('door', { state: 'waiting' })] });
    expect(jsonOf(await post({ recording: true }))).toEqual({ camera: 'door', recording: false, wanted: true });
  });

  test('of a camera that is not live can be read, and not be turned', async () => {
    const { ask } = await serve({ recorded: ['yard'] });
    const state = async (name: string) => jsonOf(await ask(`/api/cameras/${name}/recording`));
    expect(await state('old')).toEqual({ camera: 'old', recording: false, wanted: false });
    // Its first segment is being begun: the archive has nothing of it.
    expect(await state('yard')).toEqual({ camera: 'yard', recording: true, wanted: true });
    const turn = async (name: string) =>
      refusalOf(await ask(`/api/cameras/${name}/recording`, postOf({ recording: true })));
    expect(await turn('old')).toEqual([409, 'E_CAMERA_NOT_LIVE']);
    expect(await turn('yard')).toEqual([409, 'E_CAMERA_NOT_LIVE']);
    expect(await turn('nobody')).toEqual([404, 'E_CAMERA_UNKNOWN']);
    expect(refusalOf(await ask('/api/cameras/nobody/recording'))).toEqual([404, 'E_CAMERA_UNKNOWN']);
  });

  test.each(['PUT', 'DELETE', 'PATCH', 'OPTIONS'])('405 for %s, with what is allowed', async (method) => {
    const door = new FakeCamera('door');
    const { ask } = await serve({ live: [door] });
    const reply = await ask(SWITCH, { method });
    expect([...refusalOf(reply), reply.headers.allow]).toEqual([405, 'E_METHOD', 'GET, HEAD, POST']);
    expect(door.calls).toEqual([]);
  });

  test('HTTP/2: a body in several frames', async () => {
    const archive = await openArchive(folder);
    onTestFinished(() => archive.close());
    const door = new FakeCamera('door');
    const running = await listen(http2.createServer(createHandler(faceOf(archive, { live: [door] }), {})));
    onTestFinished(() => running[Symbol.asyncDispose]());
    const session = http2.connect(`http://127.0.0.1:${running.port}`);
    onTestFinished(() => session.destroy());
    const stream = session.request({ ':path': SWITCH, ':method': 'POST', ...JSON_FIELDS });
    stream.write('{"recording":');
    stream.end('true}');
    const chunks = await stream.toArray();
    expect(JSON.parse(Buffer.concat(chunks).toString())).toMatchObject({ recording: true });
    expect(door.calls).toEqual([['start', {}]]);
  });
});

describe('a body', () => {
  test.each([
    ['', 'no JSON'],
    ['{"recording": true', 'no JSON'],
    ['[true]', 'no JSON object'],
    ['null', 'no JSON object'],
    ['true', 'no JSON object'],
    [{}, '"recording" is'],
    [{ recording: 1 }, '"recording" is'],
    [{ recording: 'true' }, '"recording" is'],
    [{ recording: true, seconds: 5 }, '"seconds" is not known'],
    ['{"recording": true, "__proto__": {}}', '"__proto__" is not known'],
    [{ recording: true, durationSeconds: '5' }, '"durationSeconds" is'],
    [{ recording: true, durationSeconds: 0 }, '"durationSeconds" is'],
    [{ recording: true, durationSeconds: -1 }, '"durationSeconds" is'],
    [{ recording: true, durationSeconds: null }, '"durationSeconds" is'],
    ['{"recording": true, "durationSeconds": 1e999}', '"durationSeconds" is'],
    [{ recording: true, durationSeconds: 604_801 }, '"durationSeconds" is'],
    [{ recording: false, durationSeconds: 5 }, '"durationSeconds" goes with'],
  ])('%j is E_QUERY, with what to write instead', async (body, said) => {
    const door = new FakeCamera('door');
    const { post, errors } = await serve({ live: [door] });
    const reply = await post(body);
    const { code, message } = errorOf(reply);
    expect([reply.status, code]).toEqual([400, 'E_QUERY']);
    expect(message).toContain(said);
    expect(message).toContain('write {"recording": true}');
    expect([door.calls, errors]).toEqual([[], []]);
  });

  test.each(['text/plain', 'application/x-www-form-urlencoded', 'application/jsonp', ''])(
    'of type "%s" is not read as JSON',
    async (type) => {
      const door = new FakeCamera('door');
      const { post } = await serve({ live: [door] });
      expect(refusalOf(await post({ recording: true }, { 'content-type': type }))).toEqual([415, 'E_CONTENT_TYPE']);
      expect(door.calls).toEqual([]);
    },
  );

  test('of 4096 bytes is read; a longer one is refused, and the connection goes on', async () => {
    const door = new FakeCamera('door');
    const { ask, post } = await serve({ live: [door] });
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    onTestFinished(() => agent.destroy());
    const longest = '{"recording":true}'.padEnd(4096);
    expect((await post(longest)).status).toBe(200);
    const long = await ask(SWITCH, { ...postOf(`${longest} `), agent });
    expect(refusalOf(long)).toEqual([413, 'E_BODY_SIZE']);
    const chunked = { ...postOf(`${longest}${' '.repeat(300_000)}`, { 'transfer-encoding': 'chunked' }), agent };
    const longer = await ask(SWITCH, chunked);
    expect(refusalOf(longer)).toEqual([413, 'E_BODY_SIZE']);
    const after = await ask(SWITCH, { agent });
    expect([after.status, after.localPort, longer.localPort]).toEqual([200, long.localPort, long.localPort]);
    expect(door.calls).toHaveLength(1);
  });

  const HALF = `POST ${SWITCH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 18\r\n\r\n{"recording"`;

  test('that ends with its client changes nothing, and is no failure of the server', async () => {
    const door = new FakeCamera('door');
    let arrived = 0;
    const clientAddress = () => String(arrived++);
    const { port, errors, ask } = await serve({ live: [door] }, { clientAddress });
    for (const leave of ['destroy', 'end'] as const) {
      const before = arrived;
      const client = net.connect(port, '127.0.0.1');
      client.on('error', () => undefined);
      client.write(HALF);
      await until('the request has arrived', () => arrived > before);
      client[leave]();
      client.resume();
      await once(client, 'close');
    }
    expect((await ask('/healthz')).status).toBe(200);
    expect([door.calls, errors]).toEqual([[], []]);
  });

  test('that never ends is given up when the server says so', async () => {
    const door = new FakeCamera('door');
    const { port, errors } = await serve(
      { live: [door] },
      {},
      { requestTimeout: 300, connectionsCheckingInterval: 50, headersTimeout: 200 },
    );
    const client = net.connect(port, '127.0.0.1');
    client.write(HALF);
    const answered = Buffer.concat(await client.toArray()).toString();
    expect(answered).toMatch(/^HTTP\/1\.1 408 /);
    expect([door.calls, errors]).toEqual([[], []]);
  });
});

describe('who may turn it', () => {
  test.each(['cross-site', 'same-site', 'whatever'])('a page that the browser calls %s may not', async (site) => {
    const door = new FakeCamera('door');
    const { ask, post } = await serve({ live: [door] });
    const reply = await post({ recording: true }, { 'sec-fetch-site': site });
    expect(refusalOf(reply)).toEqual([403, 'E_CROSS_SITE']);
    expect(door.calls).toEqual([]);
    expect((await ask(SWITCH, { headers: { 'sec-fetch-site': site } })).status).toBe(200);
  });

  test.each(['same-origin', 'none'])('%s may', async (site) => {
    const door = new FakeCamera('door');
    const { post } = await serve({ live: [door] });
    expect((await post({ recording: true }, { 'sec-fetch-site': site })).status).toBe(200);
    expect(door.calls).toHaveLength(1);
  });

  test('nobody, with `control: false`: what is asked for can be read alone', async () => {
    const door = new FakeCamera('door');
    const { ask, post } = await serve({ live: [door] }, { control: false });
    const reply = await post({ recording: true });
    expect([...refusalOf(reply), reply.headers.allow]).toEqual([405, 'E_METHOD', 'GET, HEAD']);
    for (const name of ['rec_on', 'rec_off']) {
      expect(refusalOf(await ask(`/mod_nvr_admin/${name}?stream=door&seq=1`))).toEqual([404, 'E_NOT_FOUND']);
    }
    expect(door.calls).toEqual([]);
    expect(jsonOf(await ask(SWITCH))).toEqual({ camera: 'door', recording: false, wanted: false });
    expect((await ask('/mod_nvr/channel_state?stream=door')).status).toBe(200);
    expect((await ask('/api/cameras/door/health')).status).toBe(200);
  });
});
