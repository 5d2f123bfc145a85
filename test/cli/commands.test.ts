/** What the commands do when all is well: what they print, what they leave, and how they end. */
import { watch } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { runExport } from '../../src/cli/export.ts';
import { footage, footageInBackground, treeOf } from '../support/command.ts';
import { bytesOf, CLIP, START } from '../support/handler-fixture.ts';
import { request } from '../support/http-client.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

const START_MS = Date.parse(START);
/** Pictures of the sample clip, and its length. */
const [PICTURES, CLIP_MS] = [await countPictures(CLIP), 16_000];

let archive = '';
let imported = '';
beforeAll(async () => {
  archive = await sharedTemporaryFolder();
  const args = ['import', '--archive', archive, '--camera', 'door', '--start', START, '--json', CLIP, CLIP];
  const { status, stdout, stderr } = await footage(...args);
  expect([status, stderr]).toEqual([0, '']);
  imported = stdout;
});

async function countPictures(file: string): Promise<number> {
  const show = [
    '-select_streams',
    'v:0',
    '-count_packets',
    '-show_entries',
    'stream=nb_read_packets',
    '-of',
    'csv=p=0',
  ];
  const { stdout } = await run('ffprobe', ['-v', 'error', ...show, file]);
  return Number(stdout.toString());
}

const lines = (text: string): unknown[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);

test('import --json: a line per file, each file behind the one before', () => {
  const [first, second] = lines(imported);
  expect(first).toMatchObject({ file: CLIP, startUtcMs: START_MS, endUtcMs: START_MS + CLIP_MS });
  expect(second).toMatchObject({ file: CLIP, startUtcMs: START_MS + CLIP_MS, endUtcMs: START_MS + 2 * CLIP_MS });
  expect((first as { frames: number[] }).frames[0]).toBe(PICTURES);
});

test('list, for people and for programs', async () => {
  const json = await footage('list', '--archive', archive, '--json');
  const span = { startUtcMs: START_MS, endUtcMs: START_MS + 2 * CLIP_MS };
  expect([json.status, json.stderr]).toEqual([0, '']);
  expect(JSON.parse(json.stdout)).toEqual({
    cameras: [{ name: 'door', recording: false, segments: 2, spans: [span], gaps: [], ...span }],
  });
  const text = await footage('list', '--archive', archive, '--camera', 'door');
  expect(text.stdout).toBe('door\n  2026-01-31T12:00:00.000Z  2026-01-31T12:00:32.000Z  32.000 s\n');
});

test('verify reads every frame; recover finds nothing to do', async () => {
  const text = await footage('verify', '--archive', archive);
  expect([text.status, text.stderr]).toEqual([0, '']);
  expect(Number(/^2 segments, (\d+) frames, 0 with problems\n$/.exec(text.stdout)?.[1])).toBeGreaterThanOrEqual(
    2 * PICTURES,
  );
  const json = lines((await footage('verify', '--archive', archive, '--json')).stdout);
  expect(json).toHaveLength(3);
  expect(json[0]).toMatchObject({ camera: 'door', state: 'sealed', problems: [] });
  expect(json[2]).toMatchObject({ summary: { segments: 2, bad: 0, remaining: 0 } });
  const recovered = await footage('recover', '--archive', archive);
  expect([recovered.status, recovered.stdout]).toEqual([0, 'nothing to recover\n']);
});

test('export --json: the manifest, and a file that is the answer to the byte', async () => {
  const folder = await temporaryFolder();
  const output = join(folder, 'answer.mp4');
  const range = ['--archive', archive, '--camera', 'door', '--start', String(START_MS / 1000 + 4), '--duration', '40'];
  const { status, stdout, stderr } = await footage('export', ...range, '--json', '-o', output);
  expect(status).toBe(0);
  expect(stderr).toBe('footage: 12.000 s of the range are not recorded (--json lists them)\n');
  const opened = await openArchive(archive, { readOnly: true });
  const bytes = await bytesOf(opened, { camera: 'door', start: START_MS / 1000 + 4, duration: 40 });
  await opened.close();
  expect(JSON.parse(stdout)).toMatchObject({
    file: output,
    lengthBytes: bytes.length,
    asked: { startUtcMs: START_MS + 4000, endUtcMs: START_MS + 44_000 },
    missing: [{ startUtcMs: START_MS + 32_000, endUtcMs: START_MS + 44_000 }],
  });
  expect((await readFile(output)).equals(bytes)).toBe(true);
  expect(await readdir(folder)).toEqual(['answer.mp4']);
});

test('import: microseconds of --start go from file to file', async () => {
  const folder = await temporaryFolder();
  const where = ['--archive', join(folder, 'archive'), '--camera', 'door', '--json'];
  const { status, stdout } = await footage('import', ...where, '--start', '2026-01-31T12:00:00.000625Z', CLIP, CLIP);
  const startUtcMs = START_MS + 0.625;
  expect(status).toBe(0);
  expect(lines(stdout)).toMatchObject([{ startUtcMs }, { startUtcMs: startUtcMs + CLIP_MS }]);
});

test('export, interrupted while it writes, says so and leaves nothing behind', async () => {
  const folder = await temporaryFolder();
  const watcher = watch(folder, () => void process.emit('SIGINT'));
  onTestFinished(() => watcher.close());
  const flags = { camera: 'door', start: START, duration: '16', gaps: 'collapse' } as const;
  const exporting = runExport({ archive, output: join(folder, 'answer.mp4'), ...flags });
  await expect(exporting).rejects.toMatchObject({ name: 'AbortError' });
  expect(await readdir(folder)).toEqual([]);
});

describe('record', () => {
  test('--duration: so much media, from the first sync sample on, sealed, exit 0', async () => {
    const folder = await temporaryFolder();
    const args = ['--archive', folder, '--camera', 'door', '--input', CLIP, '--duration', '1.2', '--json'];
    const { status, stdout, stderr } = await footage('record', ...args);
    expect([status, stderr]).toEqual([0, '']);
    const printed = lines(stdout) as { camera: string; appendedVideoFrames: number; flushedVideoFrames: number }[];
    const rate = (PICTURES * 1000) / CLIP_MS;
    expect(printed.at(-1)).toMatchObject({ camera: 'door', segments: 1, appendedVideoFrames: Math.ceil(1.2 * rate) });
    for (const line of printed) expect(line.flushedVideoFrames).toBeLessThanOrEqual(line.appendedVideoFrames);
    expect(printed.at(-1)?.flushedVideoFrames).toBe(printed.at(-1)?.appendedVideoFrames);
    expect((await treeOf(folder)).filter((line) => line.includes('.idx'))).toEqual([]);
  });

  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends it: everything appended is sealed, exit 0', async (signal) => {
    const folder = await temporaryFolder();
    const recording = footageInBackground([
      'record',
      '--archive',
      folder,
      '--camera',
      'door',
      '--input',
      CLIP,
      '--json',
    ]);
    await recording.says(/"appendedVideoFrames":[1-9]/);
    expect((await treeOf(folder)).filter((line) => line.includes('.idx'))).toHaveLength(1);
    const ended = await recording.end(signal);
    expect([ended.status, ended.signal, ended.stderr]).toEqual([0, null, '']);
    const last = lines(ended.stdout).at(-1) as { appendedVideoFrames: number; appendedAudioFrames: number };
    expect((await treeOf(folder)).filter((line) => line.includes('.idx'))).toEqual([]);
    const verified = await footage('verify', '--archive', folder);
    const frames = last.appendedVideoFrames + last.appendedAudioFrames;
    expect([verified.status, verified.stdout]).toEqual([0, `1 segments, ${frames} frames, 0 with problems\n`]);
  });

  test('killed, it loses nothing that was appended: recover seals it, and verify agrees', async () => {
    const folder = await temporaryFolder();
    const recording = footageInBackground([
      'record',
      '--archive',
      folder,
      '--camera',
      'door',
      '--input',
      CLIP,
      '--json',
    ]);
    const [, appended] = await recording.says(/"appendedVideoFrames":([1-9]\d*)/);
    await recording.end('SIGKILL');
    const verified = await footage('verify', '--archive', folder, '--json');
    expect(lines(verified.stdout)).toMatchObject([{ state: 'open' }, { summary: { segments: 1 } }]);
    const recovered = await footage('recover', '--archive', folder, '--json');
    expect(lines(recovered.stdout)).toMatchObject([{ camera: 'door', outcome: 'sealed' }]);
    const [{ frames }] = lines(recovered.stdout) as [{ frames: number }];
    expect(frames).toBeGreaterThanOrEqual(Number(appended));
    expect(lines((await footage('verify', '--archive', folder, '--json')).stdout)).toMatchObject([
      { state: 'sealed', problems: [] },
      { summary: { bad: 0 } },
    ]);
  });
});

describe('serve', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    'says where it listens, serves page and API, and exits 0 at %s',
    async (signal) => {
      const server = footageInBackground(['serve', '--archive', archive, '--port', '0']);
      const [said, url = ''] = await server.says(/^listening on (http:\/\/127\.0\.0\.1:\d+)\n/);
      expect(said).toMatch(/:[1-9]\d*\n$/);
      const page = await request(`${url}/`);
      expect([page.status, page.body.toString()]).toEqual([200, expect.stringContaining('<title>Footage</title>')]);
      const cameras = await request(`${url}/api/cameras`);
      expect(JSON.parse(cameras.body.toString())).toMatchObject({ cameras: [{ name: 'door' }] });
      const path = `/api/cameras/door/export.mp4?start=${START}&duration=10`;
      expect((await request(`${url}${path}`)).status).toBe(200);
      // A client that is being served does not hold up the end.
      const slow = request(`${url}${path}`).catch(() => undefined);
      const ended = await server.end(signal);
      expect([ended.status, ended.signal, ended.stderr]).toEqual([0, null, '']);
      await slow;
    },
  );

  test('--session-rate limits each download', async () => {
    const limits = ['--session-rate', '200000', '--session-burst', '1000'];
    const server = footageInBackground(['serve', '--archive', archive, '--port', '0', ...limits]);
    const [, url = ''] = await server.says(/^listening on (\S+)\n/);
    const beganMs = performance.now();
    const { body } = await request(`${url}/api/cameras/door/export.mp4?start=${START}&duration=10`);
    expect(performance.now() - beganMs).toBeGreaterThan((0.5 * 1000 * (body.length - 1000)) / 200_000);
    expect((await server.end('SIGTERM')).status).toBe(0);
  });
});

describe('help', () => {
  test('every command explains itself, on standard output, exit 0', async () => {
    const main = await footage('--help');
    expect([main.status, main.stderr]).toEqual([0, '']);
    const commands = ['demo', 'serve', 'record', 'import', 'export', 'list', 'verify', 'recover', 'inspect'];
    for (const command of commands) expect(main.stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    const helps = await Promise.all(commands.map((command) => footage(command, '--help')));
    expect(helps.map(({ status }) => status)).toEqual(commands.map(() => 0));
    helps.forEach(({ stdout }, i) => expect(stdout).toMatch(new RegExp(`^Usage: footage ${commands[i]} `)));
  });

  test('no command at all: the help, and status 2; --version: the version of the package', async () => {
    const nothing = await footage();
    expect([nothing.status, nothing.stdout]).toEqual([2, '']);
    expect(nothing.stderr).toMatch(/^Usage: footage [^]*\nfootage: E_USAGE: no command/);
    const packageFile = await readFile(join(import.meta.dirname, '..', '..', 'package.json'), 'utf8');
    const { version } = JSON.parse(packageFile) as { version: string };
    expect(await footage('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
  });
});
