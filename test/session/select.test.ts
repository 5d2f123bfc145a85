/** What selecting costs: a lossy camera has thousands of stretches in an hour, and each item is looked at a few times. */
import { expect, test } from 'vitest';
import { openRow } from '../../src/catalog/reconcile.ts';
import { SampleTableBuilder } from '../../src/mp4/tables.ts';
import { SegmentCache } from '../../src/segment/cache.ts';
import { viewOfContents } from '../../src/segment/view.ts';
import { FragmentRows } from '../../src/session/fragment-layout.ts';
import { Expansions } from '../../src/session/packed.ts';
import { planMp4 } from '../../src/session/plan.ts';
import { answerPolicy } from '../../src/session/request.ts';
import { joinRun, type Run } from '../../src/session/run.ts';
import { selectRun } from '../../src/session/select.ts';
import { AUDIO, AUDIO_TICKS, HEAD, START_UTC_MS, io } from '../support/segment.ts';

const STRETCHES = 2000;
const FRAMES_PER_STRETCH = 20;

/** Sound in which each twentieth frame is lost. */
function lossySound(): SampleTableBuilder {
  const sound = new SampleTableBuilder();
  for (let i = 0; i < STRETCHES * FRAMES_PER_STRETCH; i++) {
    const lost = Math.floor(i / FRAMES_PER_STRETCH);
    sound.push((i + lost) * AUDIO_TICKS, AUDIO_TICKS, 0, 10, 1000 + i * 10, true);
  }
  return sound;
}

function runOf(samples: SampleTableBuilder): Run {
  const tracks = [{ track: AUDIO, samples, endDts: 0, estimated: false }];
  const head = { ...HEAD, tracks: [{ kind: 'audio' as const, timescale: AUDIO.timescale }] };
  const view = viewOfContents({ head, anchors: [], tracks, ended: true });
  const row = openRow('door', '/a', head, START_UTC_MS);
  const zones = [{ kind: 'window' as const, from: [0], to: [samples.count] }];
  const stored = { path: '/a', row };
  return joinRun('a', START_UTC_MS, [{ ...stored, links: [stored], view, zones, tracks: [AUDIO] }]);
}

/** The run, and how often a value of one of its columns was looked at. */
function counted(run: Run, column: 'dts' | 'offset'): { readonly run: Run; readonly reads: () => number } {
  let reads = 0;
  const tracks = run.tracks.map((track) => {
    const { count, dts, duration, compositionOffset, size, offset, sync } = track.items;
    const watched = new Proxy(track.items[column], {
      get(values, index) {
        reads++;
        return Reflect.get(values, index) as unknown;
      },
    });
    return { ...track, items: { count, dts, duration, compositionOffset, size, offset, sync, [column]: watched } };
  });
  return { run: { ...run, tracks }, reads: () => reads };
}

const SPAN = { startUtcMs: START_UTC_MS, endUtcMs: START_UTC_MS + 3_600_000 };
/** How often an item may be looked at. */
const FEW = 20;

test('two thousand stretches of sound are selected without walking all of it for each', () => {
  const { run, reads } = counted(runOf(lossySound()), 'dts');
  const parts = selectRun(run, { ...SPAN, tracks: 'all', begin: 'exact' });
  const lengths = parts.map(({ audios: [audio] }) => (audio?.to ?? 0) - (audio?.from ?? 0));
  expect(lengths).toEqual(Array.from({ length: STRETCHES }, () => FRAMES_PER_STRETCH));
  expect(reads()).toBeLessThan(STRETCHES * FRAMES_PER_STRETCH * FEW);
});

test.each(['mp4', 'fmp4'] as const)('nor are their bytes looked for in all of it (%s)', (format) => {
  const { run, reads } = counted(runOf(lossySound()), 'offset');
  const deps = { cache: new SegmentCache(io), expansions: new Expansions(), rows: new FragmentRows() };
  const { manifest } = planMp4([run], { camera: 'door', ...SPAN, ...answerPolicy({ format }) }, deps);
  expect(manifest.delivered).toHaveLength(STRETCHES);
  expect(reads()).toBeLessThan(STRETCHES * FRAMES_PER_STRETCH * FEW);
});
