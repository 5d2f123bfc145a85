import { test } from 'vitest';
import { openArchive } from '../src/archive.ts';
import { at, withArchiveServer, variantFile } from './support/acceptance.ts';
import { packets } from './support/ffmpeg.ts';
import { temporaryFolder } from './support/tmp.ts';
test('try', async () => {
  const folder = await temporaryFolder();
  await using archive = await openArchive(folder);
  const file = await variantFile('variable frame rate');
  await archive.import('door', file, { start: at(0), recorder: { segmentDurationMs: 3000 } });
  await withArchiveServer(archive, async (base) => {
    const url = `${base}/api/cameras/door/hls/index.m3u8?start=2026-01-31T12:00:00Z&duration=100`;
    console.log(await (await fetch(url)).text());
    const got = await packets(url, { streams: 'v' });
    const src = await packets(file, { streams: 'v' });
    const out = got.map((p, i) => `${p.dts} ${p.pts} | ${src[i]?.dts} ${src[i]?.pts} | ${p.dts - (src[i]?.dts ?? 0)} ${p.pts - (src[i]?.pts ?? 0)} ${p.dts <= (got[i - 1]?.dts ?? 0) ? 'BACK' : ''}`);
    console.log(out.filter((_, i) => i < 3 || (i > 80 && i < 105)).join('\n'), out.filter((o) => o.includes('BACK')).length);
  });
});
