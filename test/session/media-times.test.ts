/**
 * Media times of real answers, against what ffprobe finds in them: which picture lies at which byte. The footage is three
 * clips of very different rates, each of several segments, so one straight line over an answer would be far off.
 */
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { openArchive, type SessionRequest } from '../../src/archive.ts';
import type { SessionTraits } from '../../src/session/pacing.ts';
import { UNLIMITED } from '../../src/session/rate.ts';
import { at, exportTo } from '../support/acceptance.ts';
import { CLIP } from '../support/handler-fixture.ts';
import { mediaFile } from '../support/media.ts';
import { run } from '../support/run.ts';
import { sharedTemporaryFolder, temporaryFolder } from '../support/tmp.ts';

let folder = '';
beforeAll(async () => {
  folder = await sharedTemporaryFolder();
  const archive = await openArchive(folder);
  // One clip has 20 kB a second, the other 100.
  const long = await mediaFile('h264-aac');
  const recorder = { segmentDurationMs: 2000 };
  for (const [path, seconds] of [
    [CLIP, 0],
    [long, 16],
    [CLIP, 76],
  ] as const) {
    await archive.import('door', path, { start: at(seconds), recorder, overlap: 'keep' });
  }
  await archive.close();
});

/** Video packets in decode order: position in the file, and time since the first one, ms. */
async function packetsOf(file: string): Promise<{ readonly byte: number; readonly ms: number }[]> {
  const entries = ['-select_streams', 'v:0', '-show_entries', 'packet=dts_time,pos', '-of', 'csv=print_section=0'];
  const { stdout } = await run('ffprobe', ['-v', 'error', ...entries, file]);
  const rows = stdout.toString().trim().split('\n');
  const found = rows.map((row) => row.split(',').map(Number)).map(([s = 0, byte = 0]) => ({ byte, ms: s * 1000 }));
  return found.map(({ byte, ms }) => ({ byte, ms: ms - (found[0]?.ms ?? 0) }));
}

/** The answer to `request` as a file, and what a policy is told of it. */
async function exported(request: Partial<SessionRequest>) {
  const told: SessionTraits[] = [];
  const archive = await openArchive(folder, { pacing: (session) => (told.push(session), UNLIMITED) });
  try {
    const path = join(await temporaryFolder(), 'answer.mp4');
    await exportTo(path, archive, { camera: 'door', start: at(0), duration: 92, ...request });
    const [session] = told;
    if (session === undefined) throw new Error('the policy was not asked');
    return { session, packets: await packetsOf(path) };
  } finally {
    await archive.close();
  }
}

test.each([
  ['whole, its middle known by counters alone', {}, 1000],
  ['with borders inside of segments', { start: at(3.3), duration: 80 }, 1000],
  ['a single segment', { start: at(20.5), duration: 1 }, 1000],
  ['as fragments', { format: 'fmp4' }, 4000],
  ['of video alone, sample by sample', { tracks: 'video' }, 2500],
] as const)('an answer %s: each picture at its byte', async (_what, request, toleranceMs) => {
  const { session, packets } = await exported(request);
  expect(packets.length).toBeGreaterThan(20);
  for (const { byte, ms } of packets) expect(Math.abs(session.mediaMsIn(byte) - ms)).toBeLessThan(toleranceMs);
  // The header takes no time, the init segment of fragments neither.
  expect(session.mediaMsIn(600)).toBe(0);
  expect(session.mediaMsIn(session.lengthBytes)).toBe(session.mediaMs);
});

test('one straight line would not do: the middle of the bytes is not the middle of the time', async () => {
  const { session } = await exported({});
  expect(session.mediaMsIn(session.lengthBytes / 10) / session.mediaMs).toBeGreaterThan(0.15);
});
