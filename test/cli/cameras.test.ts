/** Cameras on the command line, and over the HTTP of the server that they belong to. */
import { execFile } from 'node:child_process';
import { chmod, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CAMERA_FPS, cameraStream, startCamera, type TestCamera } from '../support/camera.ts';
import { type Background, footage, footageInBackground } from '../support/command.ts';
import { packets } from '../support/ffmpeg.ts';
import { temporaryFolder } from '../support/tmp.ts';

const PASSWORD = 'word-of-the-camera';
const KIND = 'h264-aac';

let camera: TestCamera;

beforeAll(async () => {
  camera = await startCamera({ [KIND]: await cameraStream(KIND) }, { user: 'viewer', password: PASSWORD });
});

afterAll(() => camera.close());

const curl = async (...args: readonly string[]) => (await promisify(execFile)('curl', ['-sS', ...args])).stdout;

async function until(what: () => Promise<boolean>): Promise<void> {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 100));
}

const titleOf = ({ child }: Background) => readFile(`/proc/${child.pid}/cmdline`, 'utf8');

describe('footage record of a camera', () => {
  test('ends by itself after so much media, and says what it does without the password', async () => {
    const archive = join(await temporaryFolder(), 'archive');
    const input = camera.url(KIND);
    const recorder = footageInBackground([
      'record',
      '--archive',
      archive,
      '--camera',
      'door',
      '--input',
      input,
      '--duration',
      '3',
      '--json',
    ]);
    await recorder.says(/"appendedVideoFrames":[1-9]/);
    expect(await titleOf(recorder)).not.toContain(PASSWORD);
    const [, counted = '0'] = await recorder.says(
      /"appendedVideoFrames":(\d+),"flushedVideoFrames":\1,.*"recordedMs":[3-9]/,
    );
    expect(Number(counted)).toBeGreaterThanOrEqual(3 * CAMERA_FPS);
    const { status, stdout, stderr } = await recorder.end('SIGCONT');
    expect([status, stderr]).toEqual([0, `footage: door: connected to ${camera.publicUrl(KIND)}\n`]);
    expect(stdout + stderr).not.toContain(PASSWORD);
    const listed = await footage('list', '--archive', archive, '--json');
    expect(JSON.parse(listed.stdout)).toMatchObject({ cameras: [{ name: 'door', gaps: [] }] });
  });

  test.each([
    ['a wrong password', () => camera.url(KIND).replace(PASSWORD, 'guess'), 'E_CAMERA_AUTH'],
    ['a wrong path', () => camera.url('no-such-stream'), 'E_CAMERA_STREAM'],
  ])('%s ends it at once, in one sentence', async (_, url, code) => {
    const archive = join(await temporaryFolder(), 'archive');
    const { status, stdout, stderr } = await footage(
      'record',
      '--archive',
      archive,
      '--camera',
      'door',
      '--input',
      url(),
    );
    expect([status, stdout]).toEqual([1, '']);
    expect(stderr).toMatch(new RegExp(`^footage: ${code}: [^\\n]*check[^\\n]*\\n$`, 'm'));
    expect(stderr).not.toMatch(/guess|viewer|word-of/);
  });

  test.each([
    ['no ffmpeg', undefined, /is not there: install it/],
    ['an old ffmpeg', 'echo ffmpeg version 4.3.1 Copyright', /4\.3\.1 is too old, 5\.0 or newer/],
  ])('%s: one clear sentence', async (_, says, sentence) => {
    const folder = await temporaryFolder();
    const program = join(folder, 'ffmpeg');
    if (says !== undefined) {
      await writeFile(program, `#!/bin/sh\n${says}\n`);
      await chmod(program, 0o755);
    }
    const args = ['record', '--archive', join(folder, 'archive'), '--camera', 'door', '--input', camera.url(KIND)];
    const recorder = footageInBackground(args, { FOOTAGE_FFMPEG: program });
    await new Promise((resolve) => recorder.child.once('close', resolve));
    const { status, stderr } = await recorder.end('SIGCONT');
    expect(status).toBe(1);
    expect(stderr.trim().split('\n').at(-1)).toMatch(sentence);
  });
});

describe('footage serve with cameras', () => {
  test('is told over HTTP when to record: at the addresses of the 2013 system, and by its own', async () => {
    const folder = await temporaryFolder();
    const file = join(folder, 'cameras.json');
    const door = { source: { url: camera.url(KIND), audio: 'none' }, record: 'on-demand', preEventMs: 2000 };
    await writeFile(file, JSON.stringify({ door, yard: camera.url(KIND) }));
    const server = footageInBackground([
      'serve',
      '--archive',
      join(folder, 'archive'),
      '--cameras',
      file,
      '--port',
      '0',
    ]);
    const [, url = ''] = await server.says(/^listening on (\S+)$/m);
    const health = async (name: string) => JSON.parse(await curl(`${url}/api/cameras/${name}/health`));
    await until(async () => (await health('door')).preEvent.heldMs >= 2000);
    await until(async () => (await health('yard')).recording);
    expect(await health('door')).toMatchObject({ state: 'online', recording: false, wanted: false, error: null });

    expect(await curl(`${url}/mod_nvr/channel_state?stream=door&seq=7`)).toBe('{ "seq": "7", "recording": false }');
    const asked = Date.now();
    expect(await curl(`${url}/mod_nvr_admin/rec_on?stream=door&seq=8`)).toBe('{ "seq": "8", "recording": true }');
    await until(async () => (await health('door')).recording);
    expect(await curl(`${url}/mod_nvr/channel_state?stream=door&seq=9`)).toBe('{ "seq": "9", "recording": true }');
    await until(async () => JSON.parse(await curl(`${url}/api/cameras`)).cameras.some(isLonger(3000)));
    const json = ['-H', 'Content-Type: application/json', '-d', '{"recording": false}'];
    expect(JSON.parse(await curl(...json, `${url}/api/cameras/door/recording`))).toMatchObject({ wanted: false });
    await until(async () => !(await health('door')).recording);

    const { spans } = JSON.parse(await curl(`${url}/api/cameras/door/timeline`));
    expect(spans).toHaveLength(1);
    // It begins before it was asked for.
    expect(spans[0].startUtcMs).toBeLessThan(asked - 1500);
    const saved = join(folder, 'door.mp4');
    const start = spans[0].startUtcMs / 1000;
    await curl('-o', saved, `${url}/mod_nvr/door.mp4?stream=door&start=${start}&duration=60`);
    expect((await packets(saved)).length).toBeGreaterThanOrEqual(4 * CAMERA_FPS);
    expect(Math.abs(Number(await curl(`${url}/mod_nvr/unixtime`)) - Date.now() / 1000)).toBeLessThan(5);

    const everything = await Promise.all(
      ['', '/door/health', '/yard/health'].map((path) => curl(`${url}/api/cameras${path}`)),
    );
    const ended = await server.end('SIGINT');
    expect(ended.status).toBe(0);
    expect([...everything, ended.stdout, ended.stderr].join('\n')).not.toMatch(new RegExp(`${PASSWORD}|viewer`));
  });

  test.each([
    ['no JSON', '{"door": "rtsp://viewer:hidden-word@127.0.0.1/"', /it is not valid JSON/],
    ['a list', '[]', /it holds no object/],
    ['an unknown option', '{"door": {"source": "rtsp://127.0.0.1/", "recrod": "always"}}', /Camera "door": .*recrod/],
    ['a wrong value', '{"door": {"source": "rtsp://127.0.0.1/", "preEventMs": -1}}', /preEventMs is a number from 0/],
  ])('a file of cameras with %s is refused', async (_, text, says) => {
    const folder = await temporaryFolder();
    const file = join(folder, 'cameras.json');
    await writeFile(file, text);
    const { status, stderr } = await footage(
      'serve',
      '--archive',
      join(folder, 'archive'),
      '--cameras',
      file,
      '--port',
      '0',
    );
    expect([status, stderr]).toEqual([2, expect.stringMatching(says)]);
    expect(stderr).not.toContain('hidden-word');
  });
});

interface Listed {
  readonly name: string;
  readonly startUtcMs: number;
  readonly endUtcMs: number;
}

const isLonger =
  (ms: number) =>
  ({ name, startUtcMs, endUtcMs }: Listed): boolean =>
    name === 'door' && endUtcMs - startUtcMs >= ms;

test('footage demo records a real camera beside its own when it is given an address', async () => {
  const demo = footageInBackground(['demo', camera.url(KIND), '--port', '0']);
  const [, url = ''] = await demo.says(/^listening on (\S+)$/m);
  expect(await titleOf(demo)).not.toContain(PASSWORD);
  const listed = async () =>
    JSON.parse(await curl(`${url}/api/cameras`)).cameras as (Listed & { recording: boolean })[];
  await until(async () => (await listed()).some(({ name, recording }) => name === 'camera' && recording));
  expect((await listed()).map(({ name }) => name)).toEqual(['camera', 'front-door', 'yard']);
  const { status, stderr } = await demo.end('SIGINT');
  expect([status, stderr]).toEqual([0, `footage: camera: connected to ${camera.publicUrl(KIND)}\n`]);
});
