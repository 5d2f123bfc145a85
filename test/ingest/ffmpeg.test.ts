/** The system's ffmpeg: which one is taken, what reaches it and how, and what becomes of its words. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, symlink, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { ffmpegSource } from '../../src/ingest/ffmpeg-source.ts';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { FootageError } from '../../src/errors.ts';
import { ChildMessages, failureOf, findFfmpeg, inputArguments, probe } from '../../src/ingest/ffmpeg.ts';
import { hideSecrets } from '../../src/ingest/secrets.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { temporaryFolder } from '../support/tmp.ts';

const { FOOTAGE_FFMPEG: chosen } = process.env;
afterEach(() => {
  if (chosen === undefined) delete process.env['FOOTAGE_FFMPEG'];
  else process.env['FOOTAGE_FFMPEG'] = chosen;
});

const signal = () => AbortSignal.timeout(60_000);

async function failure(promise: Promise<unknown>): Promise<FootageError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (error instanceof FootageError) return error;
  throw new Error('no FootageError', { cause: error });
}

/** A program that says this when asked for its version. */
async function programSaying(text: string): Promise<string> {
  const path = join(await temporaryFolder(), 'ffmpeg');
  await writeFile(path, `#!/bin/sh\necho '${text}'\n`);
  await chmod(path, 0o755);
  return path;
}

const ONE_SENTENCE = /^[A-Z"f].*[^.]\.$/;

describe('the ffmpeg that is taken', () => {
  test.each([
    ['a release', 'ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers'],
    ['a release with an n', 'ffmpeg version n7.1 Copyright'],
    ['a build from its sources', 'ffmpeg version N-112233-gabcdef Copyright'],
    ['a build of a day', 'ffmpeg version 2026-01-31-git-abcdef-full_build Copyright'],
    ['one of git', 'ffmpeg version git-2026-01-31-abcdef Copyright'],
  ])('may be %s', async (_what, text) => {
    const path = await programSaying(text);
    process.env['FOOTAGE_FFMPEG'] = path;
    expect(await findFfmpeg()).toBe(path);
  });

  test.each([
    ['4.3.1', 'ffmpeg version 4.3.1 Copyright', /ffmpeg 4\.3\.1 is too old, 5\.0 or newer is needed/],
    ['n4.4', 'ffmpeg version n4.4 Copyright', /ffmpeg n4\.4 is too old/],
    ['another program', 'avconv version 12', /does not say that it is ffmpeg/],
    ['nothing', '', /does not say that it is ffmpeg/],
  ])('may not be %s', async (_what, text, message) => {
    process.env['FOOTAGE_FFMPEG'] = await programSaying(text);
    const error = await failure(findFfmpeg());
    expect(error).toMatchObject({ code: 'E_FFMPEG', message: expect.stringMatching(message) });
    expect(error.message).toMatch(ONE_SENTENCE);
    expect(error.message).toContain('apt-get install ffmpeg');
    expect(error.message).toContain('FOOTAGE_FFMPEG');
  });

  test.each([
    ['/nonexistent', /"\/nonexistent" is not there/],
    ['/etc/passwd', /"\/etc\/passwd" cannot be run/],
    ['/bin/false', /"\/bin\/false" cannot be run/],
    ['/usr/bin/yes', /"\/usr\/bin\/yes" cannot be run/],
  ])('may not be %s', async (path, message) => {
    process.env['FOOTAGE_FFMPEG'] = path;
    const error = await failure(findFfmpeg());
    expect(error).toMatchObject({ code: 'E_FFMPEG', message: expect.stringMatching(message) });
    expect(error.message).toMatch(ONE_SENTENCE);
  });

  test('is looked for again once it is installed, and is the one of the PATH if none is named', async () => {
    const path = join(await temporaryFolder(), 'ffmpeg');
    process.env['FOOTAGE_FFMPEG'] = path;
    expect((await failure(findFfmpeg())).code).toBe('E_FFMPEG');
    await symlink(await programSaying('ffmpeg version 6.0 Copyright'), path);
    expect(await findFfmpeg()).toBe(path);
    process.env['FOOTAGE_FFMPEG'] = '';
    expect(await findFfmpeg()).toBe('ffmpeg');
  });

  test('has its ffprobe beside it, also where it is not called ffmpeg; without one the failure says so', async () => {
    const folder = await temporaryFolder();
    const { stdout } = await run('sh', ['-c', 'command -v ffmpeg; command -v ffprobe']);
    const [ffmpeg = '', ffprobe = ''] = stdout.toString('utf8').split('\n');
    await symlink(ffmpeg, join(folder, 'wrapper'));
    process.env['FOOTAGE_FFMPEG'] = join(folder, 'wrapper');
    const input = { url: await mediaFile('h264-alaw'), options: {} };
    expect(await failure(probe(input, signal()))).toMatchObject({ code: 'E_FFMPEG', message: /it comes with ffmpeg/ });
    await symlink(ffprobe, join(folder, 'ffprobe'));
    expect(await probe(input, signal())).toEqual([
      { kind: 'video', codec: 'h264', reorders: true },
      { kind: 'audio', codec: 'pcm_alaw' },
    ]);
  });
});

interface Site {
  readonly origin: string;
  readonly requests: readonly IncomingMessage[];
}

async function site(answer: (req: IncomingMessage, res: ServerResponse) => void): Promise<Site> {
  const requests: IncomingMessage[] = [];
  const server = createServer((req, res) => {
    requests.push(req);
    answer(req, res);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { origin: `127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
}

describe('what reaches ffmpeg', () => {
  test.each([
    ['a quote', "it's", "it's"],
    ['quotes only', "''", "''"],
    ['a backslash', String.raw`a\'b\\`, String.raw`a\'b\\`],
    ['double quotes', '"a"', '"a"'],
    ['blanks at its ends', ' a  b ', 'a  b'],
    ['what begins comments, and what shells know', '#a $(b) `c` %d ~ |', '#a $(b) `c` %d ~ |'],
  ])('an option with %s', async (_what, value, received) => {
    const media = await readFile(await mediaFile('h264-aac-moov-first'));
    const { origin, requests } = await site((_req, res) => res.end(media));
    const input = { url: `http://${origin}/x`, options: { user_agent: value, referer: 'second' } };
    expect((await probe(input, signal())).map(({ codec }) => codec)).toEqual(['h264', 'aac']);
    // HTTP takes the blanks at the ends of a field for none of its.
    expect(requests[0]?.headers).toMatchObject({ 'user-agent': received, referer: 'second' });
  });

  test('an address with quotes, backslashes and blanks, its user and its password', async () => {
    const media = await readFile(await mediaFile('h264-aac-moov-first'));
    const { origin, requests } = await site((req, res) => {
      if (req.headers.authorization === undefined) res.writeHead(401, { 'WWW-Authenticate': 'Basic realm="x"' }).end();
      else res.end(media);
    });
    await probe({ url: String.raw`http://ad'min:p\w%23@${origin}/it's a\"b"?q='"`, options: {} }, signal());
    const { url = '', headers } = requests.at(-1) ?? {};
    expect(decodeURI(url)).toBe(String.raw`/it's a\"b"?q='"`);
    expect(Buffer.from(headers?.authorization?.slice(6) ?? '', 'base64').toString()).toBe(String.raw`ad'min:p\w#`);
  });

  test('is not on its command line', () => {
    const { args, list } = inputArguments({ url: 'rtsp://a:s3cret@h/x', options: { rtsp_transport: 'tcp' } });
    expect(args.join(' ')).not.toMatch(/s3cret|rtsp:\/\//);
    expect(list).toBe("ffconcat version 1.0\nfile 'rtsp://a:s3cret@h/x'\noption rtsp_transport 'tcp'\n");
  });

  test('no file of this machine through an address that leads there', async () => {
    const path = await mediaFile('h264-only');
    const { origin } = await site((_req, res) => res.writeHead(302, { Location: `file://${path}` }).end());
    expect((await failure(probe({ url: `http://${origin}/x`, options: {} }, signal()))).code).toMatch(/^E_/);
    const list = `ffconcat version 1.0\nfile 'file:${path}'\n`;
    const second = await site((_req, res) => res.end(list));
    expect((await failure(probe({ url: `http://${second.origin}/x`, options: {} }, signal()))).code).toMatch(/^E_/);
  });

  test('the name of a device is left to the demuxer that was asked for', async () => {
    const device = { url: 'testsrc=size=64x64', options: { f: 'lavfi' } };
    expect(await probe(device, new AbortController().signal)).toMatchObject([{ kind: 'video', codec: 'rawvideo' }]);
    const source = ffmpegSource(device);
    await expect(source.connect(new AbortController().signal)).rejects.toMatchObject({ code: 'E_INPUT_UNSUPPORTED' });
  });

  test('the path of a file is one, whatever it looks like', async () => {
    const path = join(await temporaryFolder(), "http: it's 50% #1.mp4");
    await symlink(await mediaFile('h264-only'), path);
    expect(await probe({ url: path, options: {} }, signal())).toMatchObject([{ kind: 'video', codec: 'h264' }]);
  });

  test.each([
    ['an address of two lines', { url: "rtsp://h/x\nfile '/etc/passwd'", options: {} }],
    ['an option of two lines', { url: 'rtsp://h/x', options: { user_agent: 'a\r\nb' } }],
    ['a NUL', { url: 'rtsp://h/x\0', options: {} }],
    ['a name of an option with a blank', { url: 'rtsp://h/x', options: { 'a b': 'c' } }],
    ['a name of two lines', { url: 'rtsp://h/x', options: { 'a\nfile': 'c' } }],
    ['no name', { url: '/dev/video0', options: { '': 'c' } }],
  ])('not %s', (_what, input) => {
    expect(() => inputArguments(input)).toThrow(FootageError);
    expect(() => inputArguments(input)).toThrow(/remove the line break|is not the name of an option/);
  });
});

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

describe('what becomes of its words', () => {
  test.each([
    ['an HTTP status 401', 401, 'E_CAMERA_AUTH'],
    ['an HTTP status 403', 403, 'E_CAMERA_AUTH'],
    ['an HTTP status 404', 404, 'E_CAMERA_STREAM'],
    ['no media', 200, 'E_INPUT_FORMAT'],
  ])('%s', async (_what, status, code) => {
    const { origin } = await site((_req, res) => res.writeHead(status).end('no'));
    const error = await failure(probe({ url: `http://admin:s3cret@${origin}/live`, options: {} }, signal()));
    expect(error.code).toBe(code);
    expect(error.message.startsWith(`http://${origin}/live `)).toBe(true);
    expect(error.message).not.toMatch(/s3cret|admin|pipe:/);
    expect(error.message).toMatch(/\.$/);
  });

  test.each(['http', 'rtsp', 'rtmp'])(
    '%s: nobody listens, though the address has a 401 and a 404 in it',
    async (scheme) => {
      const url = `${scheme}://127.0.0.1:${await freePort()}/Channels/401/not found 404`;
      expect(await failure(probe({ url, options: {} }, signal()))).toMatchObject({ code: 'E_CAMERA_UNREACHABLE' });
    },
  );

  test.each([
    ['a host that is not known', 'rtsp://nosuch.invalid/x', 'E_CAMERA_UNREACHABLE'],
    ['a scheme that is not known', 'foo://127.0.0.1/x', 'E_INPUT_UNSUPPORTED'],
    ['a password with a slash', 'rtsp://admin:s3/cret@127.0.0.1/x', 'E_INPUT_UNSUPPORTED'],
  ])('%s', async (_what, url, code) => {
    const error = await failure(probe({ url, options: {} }, signal()));
    expect(error.code).toBe(code);
    expect(error.message).not.toMatch(/s3|cret/);
  });

  test('what a child said long ago does not tell why it ended', () => {
    const old = '[rtsp @ 0x1] method GET_PARAMETER failed: 401 Unauthorized\n';
    const since = Array.from({ length: 9 }, (_, i) => `[h264 @ 0x1] missing picture ${i}\n`).join('');
    const lost = failureOf('rtsp://cam/x', `${old}${since}`, 'E_CAMERA_LOST');
    expect(lost).toMatchObject({
      code: 'E_CAMERA_LOST',
      message: /it is made again by itself \(.*missing picture 8\)/,
    });
    expect(failureOf('rtsp://cam/x', `${since}${old}`, 'E_CAMERA_LOST').code).toBe('E_CAMERA_AUTH');
    expect(failureOf('rtsp://cam/x', '', 'E_CAMERA_LOST').message).toBe(
      'The connection to rtsp://cam/x has ended: it is made again by itself.',
    );
  });

  test('of many words the last whole lines are kept, so that no half of a password is left', async () => {
    const stderr = new PassThrough();
    const messages = new ChildMessages(stderr, hideSecrets('rtsp://admin:verylongsecretpassword@cam/x'));
    const line = 'open rtsp://admin:verylongsecretpassword@cam/x failed\n';
    // Whatever its length, some cut goes through a password.
    for (let i = 0; i < 600; i++) {
      stderr.write(line);
      await new Promise(setImmediate);
      expect(messages.text.replaceAll('open rtsp://cam/x failed\n', '')).toBe('');
    }
    expect(messages.text.length).toBeGreaterThan(5000);
    stderr.write('x'.repeat(40_000));
    await new Promise(setImmediate);
    expect(messages.text).toBe('');
  });
});

test('a probe that is given up ends its child, with the reason', async () => {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const connected = once(server, 'connection');
  const giveUp = new AbortController();
  const { port } = server.address() as AddressInfo;
  const probing = probe({ url: `http://127.0.0.1:${port}/x`, options: {} }, giveUp.signal);
  const [socket] = await connected;
  const ended = once(socket, 'close');
  socket.resume();
  giveUp.abort(new Error('enough'));
  await expect(probing).rejects.toThrow('enough');
  await ended;
});

test('without a free file descriptor it is a FootageError', async () => {
  const script = `
    import { openSync } from 'node:fs';
    import { startChild } from ${JSON.stringify(join(import.meta.dirname, '..', '..', 'dist', 'ingest', 'ffmpeg.js'))};
    try { for (;;) openSync('/dev/null'); } catch {}
    try { startChild('ffmpeg', [], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] }); } catch (error) { console.log(error.code); }`;
  const limited = ['-c', 'ulimit -n 100; exec "$0" --input-type=module -e "$1"', process.execPath, script];
  const child = spawn('bash', limited, { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (text) => (said += String(text)));
  await once(child, 'close');
  expect(said).toBe('E_FFMPEG\n');
});
