import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openArchive } from '../../src/archive.ts';
import { at, exportTo, variantFile } from '../support/acceptance.ts';
import { packets, warnings, probe } from '../support/ffmpeg.ts';
import { temporaryFolder } from '../support/tmp.ts';

test('x', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(join(folder, 'archive'));
  await archive.import('door', await variantFile('plain'), { start: at(0), recorder: { segmentDurationMs: 2000 } });
  const request = { camera: 'door', start: at(1.5), end: at(10.3) };
  await exportTo('/tmp/h11/a.mp4', archive, request);
  await exportTo('/tmp/h11/b.mp4', archive, { ...request, format: 'fmp4' });
  console.log(await warnings('/tmp/h11/b.mp4'));
  const a = await packets('/tmp/h11/a.mp4', { hash: true });
  const b = await packets('/tmp/h11/b.mp4', { hash: true });
  console.log(a.length, b.length, JSON.stringify((await probe('/tmp/h11/a.mp4')).streams.map((s) => [s.start_time, s.duration])), JSON.stringify((await probe('/tmp/h11/b.mp4')).streams.map((s) => [s.start_time, s.duration])));
  for (const s of [0, 1]) {
    const [x, y] = [a.filter((p) => p.stream === s), b.filter((p) => p.stream === s)];
    console.log(x.length, y.length, x.slice(0, 3), y.slice(0, 3), x.at(-1), y.at(-1));
    let n = 0;
    x.forEach((p, i) => { const q = y[i]; if (JSON.stringify({ ...p, position: 0 }) !== JSON.stringify({ ...q, position: 0 }) && n++ < 4) console.log(i, p, q); });
    console.log('differ', n);
  }
});
