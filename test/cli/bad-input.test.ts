/**
 * The command line used wrongly, or in a world that is not as it should be: one sentence with a stable code on standard
 * error, nothing on standard output, exit status 1 or 2, and archive and output folder as they were.
 */
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { ERROR_CODES, type ErrorCode } from '../../src/errors.ts';
import { DELIMITER_BYTES, RecordType, encodeRecord } from '../../src/format/delimiter.ts';
import { encodeHead, FORMAT_VERSION, seedOf } from '../../src/format/records.ts';
import { native } from '../../src/native.ts';
import { OPEN_PREFIX } from '../../src/segment/layout.ts';
import { footage, footageInBackground, type Outcome, PROGRAM, treeOf } from '../support/command.ts';
import { CLIP, START } from '../support/handler-fixture.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

let archive = '';
let outputs = '';
let inputs = '';
beforeAll(async () => {
  [archive, outputs, inputs] = [
    await sharedTemporaryFolder(),
    await sharedTemporaryFolder(),
    await sharedTemporaryFolder(),
  ];
  const { status, stderr } = await footage('import', '--archive', archive, '--camera', 'door', '--start', START, CLIP);
  expect([status, stderr]).toEqual([0, '']);
});

/** One sentence, the code's own exit status, and no data. */
function expectRefused(outcome: Outcome, code: ErrorCode): void {
  expect(outcome.stderr).toMatch(new RegExp(`^footage: ${code}: [^\\n]{20,400}\\n$`));
  expect(outcome.stderr).not.toMatch(/\n\s+at |undefined|\[object/);
  expect(outcome.stdout).toBe('');
  expect(outcome.status).toBe(ERROR_CODES[code].exit);
}

/** All but the catalog, which is a cache: its size tells nothing. */
async function everything(): Promise<string[]> {
  const lines = [...(await treeOf(archive)), ...(await treeOf(outputs))];
  return lines.filter((line) => !line.startsWith('catalog.db'));
}

/** Runs the commands side by side, and expects that each fails with its code and that nothing has changed. */
async function refuses(...cases: readonly (readonly [ErrorCode, readonly string[]])[]): Promise<void> {
  const before = await everything();
  const outcomes = await Promise.all(cases.map(([, args]) => footage(...args)));
  cases.forEach(([code], i) => expectRefused(outcomes[i]!, code));
  expect(await everything()).toEqual(before);
}

const importing = (camera: string, file: string, start = START) => [
  'import',
  '--archive',
  archive,
  '--camera',
  camera,
  '--start',
  start,
  file,
];
const exporting = (...rest: readonly string[]) => ['export', '--archive', archive, '--camera', 'door', ...rest];
const output = () => join(outputs, 'answer.mp4');

describe('inputs', () => {
  test('cut off: empty, in the data, in the tables', async () => {
    const cuts = [
      ['E_INPUT_FORMAT', 'h264-aac', 0],
      ['E_INPUT_TRUNCATED', 'h264-aac', 3_000_000],
      ['E_INPUT_TRUNCATED', 'h264-aac', -100],
      ['E_INPUT_TRUNCATED', 'h264-aac-moov-first', 1000],
      ['E_INPUT_TRUNCATED', 'h264-aac-moov-first', -1],
    ] as const;
    const commands = cuts.map(async ([code, kind, bytes]) => {
      const cut = join(inputs, `${kind}-${bytes}.mp4`);
      await writeFile(cut, (await readFile(await mediaFile(kind))).subarray(0, bytes));
      return [code, importing('fresh', cut)] as const;
    });
    await refuses(...(await Promise.all(commands)));
  });

  test('a text file, no file, a folder', async () => {
    const text = join(inputs, 'text.mp4');
    await writeFile(text, 'This is not a film.\n'.repeat(100));
    await refuses(
      ['E_INPUT_FORMAT', importing('fresh', text)],
      ['E_INPUT_FORMAT', ['record', '--archive', archive, '--camera', 'fresh', '--input', text]],
      ['E_INPUT_MISSING', importing('fresh', join(inputs, 'nothing.mp4'))],
      ['E_INPUT_MISSING', importing('fresh', inputs)],
    );
  });

  test('an address that cannot be one is refused, without its password', async () => {
    const address = 'rtsp://user:secret@camera/stream\nfile x';
    const outcome = await footage('record', '--archive', archive, '--camera', 'fresh', '--input', address);
    expectRefused(outcome, 'E_USAGE');
    expect(outcome.stderr).not.toContain('secret');
  });

  test('sound alone is no bad input: it is imported, listed and exported', async () => {
    const folder = await temporaryFolder();
    const file = await mediaFile('aac-only');
    const where = ['--archive', join(folder, 'archive'), '--camera', 'sound'];
    expect((await footage('import', ...where, '--start', START, file)).status).toBe(0);
    const { stdout } = await footage('list', '--archive', join(folder, 'archive'), '--json');
    expect(JSON.parse(stdout)).toMatchObject({ cameras: [{ name: 'sound', startUtcMs: Date.parse(START) }] });
    const answer = join(folder, 'answer.mp4');
    expect((await footage('export', ...where, '--start', START, '--duration', '10', '-o', answer)).status).toBe(0);
    const probed = await run('ffprobe', [
      '-v',
      'error',
      '-show_entries',
      'stream=codec_name',
      '-of',
      'csv=p=0',
      answer,
    ]);
    expect([probed.stdout.toString().trim(), probed.stderr]).toEqual(['aac', '']);
  });
});

describe('names, times and ranges', () => {
  test('names of cameras', async () => {
    const names = ['../evil', '', 'x'.repeat(65)];
    const range = ['--start', START, '--duration', '5', '-o', output()];
    await refuses(
      ...names.map((name) => ['E_CAMERA_NAME', importing(name, CLIP)] as const),
      ['E_CAMERA_NAME', ['record', '--archive', archive, '--camera', '../evil', '--input', CLIP]],
      ['E_CAMERA_NAME', ['export', '--archive', archive, '--camera', '../door', ...range]],
      ['E_CAMERA_UNKNOWN', ['export', '--archive', archive, '--camera', 'nobody', ...range]],
      ['E_CAMERA_UNKNOWN', ['list', '--archive', archive, '--camera', 'nobody']],
    );
  });

  test('that are refused make no archive', async () => {
    const folder = await temporaryFolder();
    const where = (camera: string) => ['--archive', join(folder, 'archive'), '--camera', camera];
    const outcomes = await Promise.all([
      footage('import', ...where('../evil'), '--start', START, CLIP),
      footage('import', ...where('door'), '--start', 'noon', CLIP),
      footage('record', ...where('../evil'), '--input', CLIP),
      footage('record', ...where('door'), '--input', CLIP, '--duration', 'long'),
    ]);
    outcomes.forEach((outcome, i) => expectRefused(outcome, i % 2 === 0 ? 'E_CAMERA_NAME' : 'E_TIME'));
    expect(await treeOf(folder)).toEqual([]);
  });

  test('a range that is none, or holds nothing', async () => {
    await refuses(
      ['E_RANGE_ORDER', exporting('--start', START, '--end', '2026-01-31T11:00:00Z', '-o', output())],
      ['E_RANGE_EMPTY', exporting('--start', '2020-01-01T00:00:00Z', '--duration', '9', '-o', output())],
      ['E_QUERY', exporting('--start', START, '--duration', '5', '--speed', '8', '-o', output())],
      ['E_QUERY', exporting('--start', START, '--duration', '5', '--keyframes', '--tracks', 'audio', '-o', output())],
      ['E_GAP', exporting('--start', START, '--duration', '30', '--gaps', 'error', '-o', output())],
      ['E_TIME', exporting('--start', 'noon', '--duration', '9', '-o', output())],
      ['E_TIME', importing('fresh', CLIP, '2026-02-30T12:00:00Z')],
      ['E_TIME', ['record', '--archive', archive, '--camera', 'fresh', '--input', CLIP, '--duration', '-1']],
    );
  });

  test('footage over footage, unless it is asked for', async () => {
    await refuses(
      ['E_OVERLAP', importing('door', CLIP)],
      ['E_OVERLAP', importing('door', CLIP, '2026-01-31T12:00:15.9Z')],
    );
    const copy = join(await temporaryFolder(), 'archive');
    await run('cp', ['-r', archive, copy]);
    const args = ['import', '--archive', copy, '--camera', 'door', '--start', START, '--overlap', 'keep', CLIP];
    expect((await footage(...args)).status).toBe(0);
  });
});

test('words: unknown commands and options, missing ones, values that are none', async () => {
  const lists = [
    ['frobnicate'],
    ['list'],
    ['import', '--archive', '/x', '--start', START, CLIP],
    ['export', '--archive', '/x', '--camera', 'x', '--start', START, '--duration', '1'],
    ['list', '--archive', '/x', '--colour'],
    ['export', '--gaps', 'perhaps'],
    ['export', '--tracks', 'all'],
    ['export', '--speed', '0'],
    ['export', '--part', '2'],
    ['serve', '--archive', '/x', '--port', '65536'],
    ['serve', '--archive', '/x', '--session-rate', '-5'],
  ];
  await refuses(...lists.map((args) => ['E_USAGE', args] as const));
});

describe('an archive', () => {
  test('that is not there is not made by those who only look', async () => {
    const parent = await temporaryFolder();
    const missing = join(parent, 'archive');
    const range = ['--camera', 'x', '--start', START, '--duration', '1', '-o', output()];
    const commands = [['list'], ['verify'], ['recover'], ['export', ...range]];
    const where = ['--archive', missing];
    await refuses(...commands.map((args) => ['E_ARCHIVE_MISSING', [...args, ...where]] as const));
    expect(await treeOf(parent)).toEqual([]);
  });

  test('that is read-only can be listed, verified and exported from, but not changed', async () => {
    const before = await everything();
    const list = ['list', '--archive', archive, '--json'];
    const shown = await readOnly(list);
    expect([shown.status, shown.stderr, shown.stdout]).toEqual([0, '', (await footage(...list)).stdout]);
    expect((await readOnly(['verify', '--archive', archive])).status).toBe(0);
    const answer = join(await temporaryFolder(), 'answer.mp4');
    const range = exporting('--start', START, '--duration', '5', '-o', answer);
    expect((await readOnly(range)).status).toBe(0);
    expect((await footage(...range.slice(0, -1), `${answer}.2`)).status).toBe(0);
    expect((await readFile(answer)).equals(await readFile(`${answer}.2`))).toBe(true);
    const refused = [
      importing('door', CLIP, '2026-03-01T00:00:00Z'),
      importing('fresh', CLIP),
      ['recover', '--archive', archive],
    ];
    refused.push(['record', '--archive', archive, '--camera', 'door', '--input', CLIP, '--duration', '1']);
    for (const outcome of await Promise.all(refused.map(readOnly))) expectRefused(outcome, 'E_READ_ONLY');
    expect(await everything()).toEqual(before);
  });

  test('on a full disk takes nothing, and keeps nothing of what did not fit', async () => {
    const disk = await temporaryFolder();
    const file = await mediaFile('h264-aac');
    const args = ['import', '--archive', join(disk, 'archive'), '--camera', 'door', '--start', START, file];
    const outcome = await onSmallDisk(disk, args);
    expectRefused({ ...outcome, stdout: '' }, 'E_DISK_FULL');
    expect(outcome.stdout).toContain('left: archive\n');
    expect(outcome.stdout).not.toMatch(/\.mp4|\.idx/);
  });

  test('with a camera that another process records', async () => {
    const folder = await temporaryFolder();
    // A minute long: it must not end before the others have come.
    const input = await mediaFile('h264-aac');
    const args = ['record', '--archive', folder, '--camera', 'door', '--input', input, '--wait', '0.2'];
    const first = footageInBackground([...args, '--json']);
    await first.says(/"appendedVideoFrames":[1-9]/);
    const importing = ['import', '--archive', folder, '--camera', 'door', '--wait', '0', '--start', START, CLIP];
    const others = await Promise.all([footage(...args), footage(...importing)]);
    for (const outcome of others) expectRefused(outcome, 'E_CAMERA_BUSY');
    // The first one has noticed nothing.
    const ended = await first.end('SIGINT');
    expect([ended.status, ended.stderr]).toEqual([0, '']);
    const verified = await footage('verify', '--archive', folder);
    expect([verified.status, verified.stdout]).toEqual([
      0,
      expect.stringMatching(/^1 segments, [1-9]\d* frames, 0 with/),
    ]);
  });

  test('with a segment of a newer version: its camera is left alone, to the byte', async () => {
    const folder = await temporaryFolder();
    const day = join(folder, 'door', '2026', '01', '31');
    await mkdir(day, { recursive: true });
    const id = 'ab'.repeat(16);
    const newer = join(day, `120000.000Z-${id}.mp4`);
    await writeFile(newer, Buffer.concat([OPEN_PREFIX, newerHead(id), Buffer.alloc(5000, 7)]));
    await writeFile(newer.replace('.mp4', '.idx'), newerHead(id));
    const bytes = await readFile(newer);
    const write = ['--archive', folder, '--camera', 'door'];
    expectRefused(await footage('record', ...write, '--input', CLIP, '--duration', '1'), 'E_FORMAT_VERSION');
    expectRefused(await footage('import', ...write, '--start', '2026-05-01T00:00:00Z', CLIP), 'E_FORMAT_VERSION');
    const listed = await footage('list', '--archive', folder);
    expect([listed.status, listed.stdout]).toEqual([0, '']);
    expect(listed.stderr).toMatch(/^footage: unreadable: .*120000\.000Z-.*format version 2/);
    // Other cameras are not held up by it.
    expect((await footage('import', '--archive', folder, '--camera', 'yard', '--start', START, CLIP)).status).toBe(0);
    expect((await readFile(newer)).equals(bytes)).toBe(true);
    const files = (await treeOf(join(folder, 'door'))).filter((line) => /\.(mp4|idx)/.test(line));
    expect(files).toHaveLength(2);
  });
});

describe('outputs', () => {
  const range = ['--start', START, '--duration', '5'];

  test('a folder, or in a folder that is not there, or below a file', async () => {
    const file = join(outputs, 'file');
    await writeFile(file, 'kept');
    await refuses(
      ['E_OUTPUT', exporting(...range, '-o', outputs)],
      ['E_OUTPUT', exporting(...range, '-o', join(outputs, 'missing', 'answer.mp4'))],
      ['E_OUTPUT', exporting(...range, '-o', join(file, 'answer.mp4'))],
    );
  });

  test('a full disk: an older answer of that name is still there', async () => {
    const disk = await temporaryFolder();
    const answer = join(disk, 'answer.mp4');
    const whole = ['--start', START, '--duration', '16'];
    const outcome = await onSmallDisk(disk, exporting(...whole, '-o', answer), {
      sizeKb: 128,
      first: `echo old > ${answer}`,
    });
    expectRefused({ ...outcome, stdout: '' }, 'E_OUTPUT');
    expect(outcome.stdout).toBe('left: answer.mp4\n');
  });

  test('a port in use', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    onTestFinished(() => void server.close());
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    await refuses(
      ['E_LISTEN', ['serve', '--archive', archive, '--port', String(port)]],
      ['E_LISTEN', ['demo', '--archive', archive, '--port', String(port)]],
    );
  });
});

/** A head as a newer version would write it: valid in all its checksums, but of the next format version. */
function newerHead(segment: string): Uint8Array {
  const crc32c = native.crc32c;
  const anchor = { track: 0, dts: 0, utcMs: Date.parse(START), discontinuity: false };
  const tracks = [{ kind: 'video' as const, timescale: 90_000 }];
  const head = { segment, camera: '01'.repeat(16), run: '02'.repeat(16), sequence: 0, anchor, tracks };
  const payload = encodeHead(head, crc32c).slice(DELIMITER_BYTES);
  new DataView(payload.buffer).setUint16(0, FORMAT_VERSION + 1);
  const fields = { type: RecordType.head, flags: 0, track: 0, configuration: 0, compositionOffset: 0, dts: 0 };
  return encodeRecord(fields, payload, seedOf(segment, crc32c), crc32c);
}

/** Runs `footage ARGS` while the archive is mounted read-only, in mounts of its own, which end with it. */
function readOnly(args: readonly string[]): Promise<Outcome> {
  return withMounts('mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"', archive, args);
}

/** Runs `footage ARGS` with a small file system at `folder`; standard output also lists what is left in it. */
function onSmallDisk(
  folder: string,
  args: readonly string[],
  { sizeKb = 2048, first = 'true' } = {},
): Promise<Outcome> {
  const script =
    `mount -t tmpfs -o size=${sizeKb}k tmpfs "$0" && ${first} && { "$@"; status=$?; } &&` +
    ' find "$0" -mindepth 1 -printf "left: %P\\n" && exit $status';
  return withMounts(script, folder, args);
}

async function withMounts(script: string, folder: string, args: readonly string[]): Promise<Outcome> {
  const namespaces = process.getuid?.() === 0 ? ['--mount'] : ['--user', '--map-root-user', '--mount'];
  const command = [...namespaces, 'sh', '-c', script, folder, process.execPath, PROGRAM, ...args];
  const { status, stdout, stderr } = await run('unshare', command, { allowFailure: true });
  return { status, stdout: stdout.toString('utf8'), stderr };
}
