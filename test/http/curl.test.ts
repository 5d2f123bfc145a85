/** The handler against curl: ranges, a download that is interrupted and gone on with, and what curl keeps in between. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { WAYS } from '../sender/rig.ts';
import { BIG, bytesOf, DOOR, fillArchive, serveHandler, START } from '../support/handler-fixture.ts';
import { partsOf } from '../support/http-client.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  await fillArchive(folder);
});

/** A server, and a curl that downloads from it into `file`; it returns status and content type. */
async function prepare(native: (typeof WAYS)[number][1]) {
  const archive = await openArchive(folder, { native });
  onTestFinished(() => archive.close());
  const { origin } = await serveHandler(archive);
  const file = join(await temporaryFolder(), 'clip.mp4');
  const curl = async (path: string, ...args: readonly string[]) => {
    const told = ['--write-out', '%{stderr}%{http_code} %{content_type}'];
    const { stderr } = await run('curl', ['--silent', '--output', file, ...told, ...args, `${origin}${path}`]);
    const [status = '', ...type] = stderr.split(' ');
    return { status, type: type.join(' ') };
  };
  return { archive, file, curl };
}

/** The header of an answer but its date. */
const headerOf = (answer: string) => answer.slice(0, answer.indexOf('\r\n\r\n') + 4).replace(/^Date: .*$/m, '');

describe.each(WAYS)('with the %s sender', (_kind, native) => {
  test('-C -: an interrupted download is gone on with, and is whole', async () => {
    const { archive, file, curl } = await prepare(native);
    const bytes = await bytesOf(archive, { camera: 'big', start: START, duration: 300 });
    await writeFile(file, bytes.subarray(0, 12_345_678));
    expect((await curl(BIG, '--continue-at', '-')).status).toBe('206');
    expect((await readFile(file)).equals(bytes)).toBe(true);
  });

  test('-r 0-99,200-299 and its like: parts, one range, the end', async () => {
    const { archive, file, curl } = await prepare(native);
    const bytes = await bytesOf(archive, { camera: 'door', start: START, duration: 16 });
    const { status, type } = await curl(DOOR, '--range', '0-99,200-299');
    expect(status).toBe('206');
    const parts = partsOf(type, await readFile(file));
    expect(parts.map(({ body }) => body.toString('hex'))).toEqual([
      bytes.subarray(0, 100).toString('hex'),
      bytes.subarray(200, 300).toString('hex'),
    ]);
    expect(await curl(DOOR, '--range', '100-50099')).toEqual({ status: '206', type: 'video/mp4' });
    expect((await readFile(file)).equals(bytes.subarray(100, 50_100))).toBe(true);
    expect((await curl(DOOR, '--range', '-777')).status).toBe('206');
    expect((await readFile(file)).equals(bytes.subarray(-777))).toBe(true);
    expect((await curl(DOOR, '--range', `${bytes.length}-`)).status).toBe('416');
  });

  test('--head: the fields of the whole, and the next request on the same connection is answered', async () => {
    const { file, curl } = await prepare(native);
    expect((await curl(DOOR, '--head')).status).toBe('200');
    const head = (await readFile(file)).toString('latin1');
    expect((await curl(DOOR, '--include')).status).toBe('200');
    const whole = (await readFile(file)).toString('latin1');
    expect(headerOf(head)).toBe(headerOf(whole));
    expect(head.endsWith('\r\n\r\n')).toBe(true);
  });

  test('--etag-compare and --time-cond: what is known is not sent again', async () => {
    const { file, curl } = await prepare(native);
    const etag = `${file}.etag`;
    expect((await curl(DOOR, '--etag-save', etag)).status).toBe('200');
    expect((await curl(DOOR, '--etag-compare', etag)).status).toBe('304');
    await writeFile(etag, '"another"');
    expect((await curl(DOOR, '--etag-compare', etag)).status).toBe('200');
    const [before = '', then = '', after = ''] = [15, 16, 17].map((second) => `Sat, 31 Jan 2026 12:00:${second} GMT`);
    expect((await curl(DOOR, '--time-cond', then)).status).toBe('304');
    expect((await curl(DOOR, '--time-cond', before)).status).toBe('200');
    // With a minus it is If-Unmodified-Since.
    expect((await curl(DOOR, '--time-cond', `-${after}`)).status).toBe('200');
    expect((await curl(DOOR, '--time-cond', `-${before}`)).status).toBe('412');
  });

  test('--remote-header-name: the download has a telling name', async () => {
    const { archive } = await prepare(native);
    const { origin } = await serveHandler(archive);
    const into = await temporaryFolder();
    await run('curl', ['-sOJ', '--output-dir', into, `${origin}${DOOR}&download`]);
    const saved = await readFile(join(into, 'door_2026-01-31T12-00-00Z_16s.mp4'));
    expect(saved.equals(await bytesOf(archive, { camera: 'door', start: START, duration: 16 }))).toBe(true);
  });
});
