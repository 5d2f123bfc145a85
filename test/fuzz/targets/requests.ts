/** Whole requests, byte by byte over a socket, to the handler of a real archive. */
import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { join } from 'node:path';
import { type Archive, openArchive } from '../../../src/index.ts';
import type { FuzzTarget } from '../target.ts';
import { expectThat } from './expect.ts';
import { scratchFolder } from './scratch.ts';

let folder = '';
let archive: Archive | undefined;
let server: Server | undefined;
let port = 0;
let failure: unknown;

const RANGE = 'start=2026-01-31T12:00:00Z&duration=1';
const TARGETS = [
  ...['/healthz', '/', '/api/cameras', '/api/cameras/door/timeline', `/api/cameras/door/timeline?${RANGE}`],
  ...[`/api/cameras/door/export.mp4?${RANGE}`, `/api/cameras/door/export.mp4?${RANGE}&format=fmp4&tracks=video`],
  ...[`/api/cameras/door/export.json?${RANGE}&gaps=freeze`, `/mod_nvr/file?stream=door&${RANGE}&download=1`],
  ...[
    `/api/cameras/door/hls/index.m3u8?${RANGE}`,
    '/api/cameras/door/hls/live.m3u8',
    '/api/cameras/door/hls/master.m3u8',
  ],
  `/api/cameras/door/hls/00112233445566778899aabbccddeeff/0-5.m4s`,
  ...['/api/cameras/door/health', '/api/cameras/door/recording', '/mod_nvr/unixtime'],
  ...['/mod_nvr_admin/rec_on?stream=door&seq=1', '/mod_nvr_admin/rec_off?stream=door&seq=<a>'],
  ...['/mod_nvr/channel_state?stream=door&seq=1', `/mod_nvr/door.mp4?stream=door&${RANGE}`],
];
const FIELDS = 'Range: bytes=0-99\r\nIf-Range: "x"\r\nIf-None-Match: W/"a", "b"\r\n';

function onError(error: unknown): void {
  failure ??= error;
}

/** A switch of recording, with its body. */
function switching(body: string): Buffer {
  const head = `POST /api/cameras/door/recording HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n`;
  return Buffer.from(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
}

export const requests: FuzzTarget = {
  name: 'requests',
  corpora: [],
  maxBytes: 4096,
  seeds: () => [
    ...TARGETS.flatMap((target) =>
      ['GET', 'HEAD'].map((method) => Buffer.from(`${method} ${target} HTTP/1.1\r\nHost: a\r\n${FIELDS}\r\n`)),
    ),
    switching('{"recording": true, "durationSeconds": 60}'),
    switching('{"recording": false}'),
  ],
  words: [
    ...[
      'GET ',
      'HEAD ',
      'POST ',
      ' HTTP/1.1',
      '\r\n',
      ': ',
      'Range: bytes=',
      'If-Range: ',
      'If-Match: *',
      '%',
      '%00',
      '//',
    ],
    ...[
      '%2e%2e/',
      '?',
      '&',
      '=',
      'start=',
      'end=',
      'duration=',
      '-1',
      '1e99',
      '9007199254740992',
      'part=2',
      'http://b/',
    ],
    ...['changes=split', 'keyframes=1', 'speed=', 'gaps=error', 'door', '0-99999999', 'begin=next', 'tracks=audio'],
    ...[
      'stream=',
      'seq=',
      'Content-Length: ',
      'Transfer-Encoding: chunked',
      '{"recording": ',
      'true',
      '"durationSeconds": ',
    ],
  ],
  open: async () => {
    folder = await scratchFolder();
    archive = await openArchive(folder);
    const movie = join(import.meta.dirname, '..', 'corpus', 'movie', 'h264-aac.mp4');
    await archive.import('door', movie, { start: '2026-01-31T12:00:00Z' });
    server = createServer(archive.handler({ page: true, onError })).listen(0, '127.0.0.1');
    await once(server, 'listening');
    ({ port } = server.address() as AddressInfo);
  },
  close: async () => {
    server?.closeAllConnections();
    server?.close();
    await archive?.close();
    await rm(folder, { recursive: true });
  },
  run: async (bytes) => {
    failure = undefined;
    const status = statusOf(await answer(bytes));
    if (failure !== undefined) throw failure;
    expectThat(status === undefined || (status < 500 && status >= 200), `status ${status} is no failure of the server`);
  },
};

/** What the server sends until it is silent, or closes. */
async function answer(request: Buffer): Promise<Buffer> {
  const socket = connect(port, '127.0.0.1');
  const parts: Buffer[] = [];
  socket.on('data', (part: Buffer) => parts.push(part));
  // A server may cut off who sends nonsense.
  socket.on('error', () => undefined);
  // Whatever the request lacks, it has an end; the answer to it is the last one.
  socket.end(request);
  await once(socket, 'close');
  return Buffer.concat(parts);
}

function statusOf(answered: Buffer): number | undefined {
  const status = /^HTTP\/1\.1 (\d{3})/.exec(answered.toString('latin1', 0, 20))?.[1];
  return status === undefined ? undefined : Number(status);
}
