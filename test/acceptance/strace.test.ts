/** What the kernel is asked for when a byte range of a long answer is sent: the range's own bytes and nothing else. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import type { StoredSlice } from '../../src/session/virtual-file.ts';
import { at, variantFile } from '../support/acceptance.ts';
import { PROGRAM } from '../support/command.ts';
import { temporaryFolder } from '../support/tmp.ts';

const REQUEST = { camera: 'door', start: at(3.3), end: at(33.3) };
const SYSCALLS = 'read,pread64,readv,preadv,preadv2,sendfile,splice,copy_file_range,mmap';

interface Read {
  readonly call: string;
  readonly offset: number;
  readonly bytes: number;
}

/** Reads of segment files in lines of strace: `12 pread64(20</a/door/x.mp4>, ""..., 4096, 512) = 4096`. */
function readsIn(lines: readonly string[]): Read[] {
  return lines.flatMap((line): Read[] => {
    if (!/\/door\/.*\.mp4>/.test(line)) return [];
    const sent = /(sendfile)\(.*>, \[(\d+)\](?: => \[\d+\])?, \d+\)\s+= (\d+)/.exec(line);
    const read = /(pread64)\(.*, \d+, (\d+)\)\s+= (\d+)/.exec(line);
    const [, call = '', offset = 'NaN', bytes = 'NaN'] = sent ?? read ?? [];
    if (call === '' && / = (?:-1 EAGAIN|\?)|resumed|unfinished/.test(line)) return [];
    return [{ call: call || line, offset: Number(offset), bytes: Number(bytes) }];
  });
}

/** The address that the server prints; its output is read on, so that it never blocks. */
function originOf(server: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let output = '';
    server.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      const [, origin] = /(http:\/\/[\d.]+:\d+)/.exec(output) ?? [];
      if (origin !== undefined) resolve(origin);
    });
    server.once('exit', () => reject(new Error(`the server ended: ${output}`)));
  });
}

/** The tracer passes no signal on: the first process that it saw is the server. */
async function stop(server: ChildProcess, log: string): Promise<void> {
  const [pid = ''] = (await readFile(log, 'utf8')).split(' ');
  if (server.exitCode !== null) return;
  const exited = once(server, 'exit');
  process.kill(Number(pid), 'SIGINT');
  await exited;
}

test('a range in the middle reads only its own slices', async () => {
  const folder = await temporaryFolder();
  const root = join(folder, 'archive');
  const log = join(folder, 'strace.log');
  await using archive = await openArchive(root);
  for (let i = 0; i < 3; i++) {
    await archive.import('door', await variantFile('plain'), {
      start: at(12 * i),
      recorder: { segmentDurationMs: 4000 },
    });
  }
  const session = await archive.session(REQUEST);
  const args = ['-f', '-y', '-o', log, '-e', `trace=${SYSCALLS}`, process.execPath, PROGRAM];
  // The scrub reads, too, whatever is asked for.
  const serve = ['serve', '--archive', root, '--port', '0', '--scrub', 'off'];
  const server = spawn('strace', [...args, ...serve], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    const base = await originOf(server);
    const url = `${base}/api/cameras/door/export.mp4?start=${REQUEST.start.toISOString()}&end=${REQUEST.end.toISOString()}`;
    // Planned once: the ranges that a player asks for afterwards come from the kept plan.
    expect((await fetch(url, { method: 'HEAD' })).headers.get('content-length')).toBe(String(session.length));
    for (const start of [Math.floor(session.length / 2), Math.floor(session.length * 0.7), 3000, 9000]) {
      const before = (await readFile(log, 'utf8')).length;
      const range = { start, end: start + 5000 };
      const response = await fetch(url, { headers: { Range: `bytes=${range.start}-${range.end - 1}` } });
      expect((await response.arrayBuffer()).byteLength).toBe(5000);
      await delay(300);
      const lines = (await readFile(log, 'utf8')).slice(before).split('\n');
      const slices: StoredSlice[] = [];
      for await (const slice of session.slices(range)) slices.push(slice);
      expectOnly(readsIn(lines), slices);
    }
  } finally {
    await stop(server, log);
  }
});

/** Files go out by sendfile from within their slices; what is computed reads little more than its own bytes. */
function expectOnly(reads: readonly Read[], slices: readonly StoredSlice[]): void {
  const files = slices.filter((slice) => slice.kind === 'file');
  const computed = slices.reduce((sum, slice) => sum + (slice.kind === 'bytes' ? slice.data.byteLength : 0), 0);
  let read = 0;
  let sent = 0;
  for (const { call, offset, bytes } of reads) {
    if (call === 'sendfile') {
      sent += bytes;
      const inside = files.some((slice) => offset >= slice.offset && offset + bytes <= slice.offset + slice.length);
      expect(inside, `sendfile of ${bytes} bytes at ${offset}`).toBe(true);
    } else {
      expect(call).toBe('pread64');
      read += bytes;
    }
  }
  // An entry of a table that the range cuts is read whole, at both ends of each slice.
  expect(read).toBeLessThanOrEqual(computed + 24 * slices.length);
  expect(sent).toBe(files.reduce((sum, slice) => sum + slice.length, 0));
}
