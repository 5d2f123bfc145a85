/** The limits of `footage serve` against curl, and the thread pool that the program gives itself. */
import { readdir } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { beforeAll, describe, expect, test } from 'vitest';
import { footage, footageInBackground, PROGRAM } from '../support/command.ts';
import { START } from '../support/handler-fixture.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder } from '../support/tmp.ts';

let archive = '';
beforeAll(async () => {
  archive = await sharedTemporaryFolder();
  const clip = await mediaFile('h264-aac');
  const importing = ['import', '--archive', archive, '--camera', 'door', '--start', START];
  expect((await footage(...importing, clip, clip, clip)).status).toBe(0);
});

const SECONDS = 4;
const PATH = `/api/cameras/door/export.mp4?start=${START}&duration=180`;

async function serving(...limits: readonly string[]) {
  const server = footageInBackground(['serve', '--archive', archive, '--port', '0', ...limits]);
  const [, url = ''] = await server.says(/^listening on (\S+)\n/);
  return { url, server };
}

/** Bytes that curl gets from an address of its own in a fixed time, or until it has all. */
async function download(url: string, from = '127.0.0.1', path = PATH): Promise<number> {
  const told = ['--output', '/dev/null', '--write-out', '%{size_download}'];
  const args = ['--silent', '--max-time', String(SECONDS), '--interface', from, ...told, `${url}${path}`];
  const { status, stdout, stderr } = await run('curl', args, { allowFailure: true });
  // 28: the time was over.
  if (status !== 0 && status !== 28) throw new Error(`curl ended with ${status}: ${stderr}`);
  return Number(stdout.toString());
}

/** Within a factor of two: what a busy machine makes of a fixed time is not judged. */
function about(bytes: number, expected: number): void {
  expect(bytes).toBeGreaterThan(expected / 2);
  expect(bytes).toBeLessThan(expected * 2);
}

describe('footage serve', () => {
  test('without limits a download has all of it in that time', async () => {
    const { url } = await serving();
    expect(await download(url)).toBeGreaterThan(15_000_000);
  });

  test('--client-rate: two connections of one address have together what another address has alone', async () => {
    const { url } = await serving('--client-rate', '1000000', '--client-burst', '0');
    const [one = 0, two = 0, other = 0] = await Promise.all(
      ['127.0.0.1', '127.0.0.1', '127.0.0.2'].map((from) => download(url, from)),
    );
    about(other, SECONDS * 1_000_000);
    about(one + two, other);
    about(one, two);
  });

  test('--server-rate: all addresses together', async () => {
    const { url } = await serving('--server-rate', '1500000', '--server-burst', '0');
    const got = await Promise.all(['127.0.0.1', '127.0.0.2', '127.0.0.3'].map((from) => download(url, from)));
    for (const bytes of got) about(bytes, (SECONDS * 1_500_000) / 3);
  });

  test('--real-time: so many times the speed of the footage, after its first 5 s', async () => {
    const { url } = await serving('--real-time', '6');
    const whole = 180;
    const bytes = await download(await serving().then(({ url: fast }) => fast));
    about(await download(url), ((5 + 6 * SECONDS) / whole) * bytes);
  });

  test('limits that are none: one sentence, exit 2', async () => {
    const wrong = ['--client-rate', '--client-burst', '--server-rate', '--server-burst', '--real-time'];
    const outcomes = await Promise.all(
      wrong.map((option) => footage('serve', '--archive', archive, '--port', '0', option, '-1')),
    );
    outcomes.forEach(({ status, stdout, stderr }, i) => {
      expect([status, stdout]).toEqual([2, '']);
      expect(stderr).toMatch(new RegExp(`^footage: E_USAGE: [^\\n]*${wrong[i]}[^\\n]*Write a number[^\\n]*\\n$`));
    });
  });
});

/** Threads of a server that has read files. */
async function threadsWith(env: NodeJS.ProcessEnv): Promise<number> {
  const server = footageInBackground(['serve', '--archive', archive, '--port', '0'], env);
  const [, url = ''] = await server.says(/^listening on (\S+)\n/);
  await download(url, '127.0.0.1', '/api/cameras');
  return (await readdir(`/proc/${server.child.pid}/task`)).length;
}

describe('the thread pool', () => {
  test('has threads enough for disks that stall, unless the user has said how many', async () => {
    const [own, two] = [
      await threadsWith({ UV_THREADPOOL_SIZE: undefined }),
      await threadsWith({ UV_THREADPOOL_SIZE: '2' }),
    ];
    expect(own - two).toBe(Math.max(16, 2 * availableParallelism()) - 2);
  });

  test.each([
    ['1', true],
    ['2', false],
  ] as const)('of %s: whether a warning says that it is too small: %s', async (size, warns) => {
    const env = { ...process.env, UV_THREADPOOL_SIZE: size };
    const { stderr } = await run(process.execPath, [PROGRAM, 'list', '--archive', archive], { env });
    expect(/\[FOOTAGE_SMALL_POOL\] Warning: .*Set UV_THREADPOOL_SIZE/.test(stderr)).toBe(warns);
  });
});
