/** The anatomy of a segment in every state it can be in. */
import { rm, writeFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { TRAILER_BYTES } from '../../src/format/trailer.ts';
import { inspectSegment } from '../../src/segment/inspect.ts';
import { indexPathOf } from '../../src/segment/layout.ts';
import { footage } from '../support/command.ts';
import { mediaFile } from '../support/media.ts';
import { HEAD, io, openBytes, restore, tellStory } from '../support/segment.ts';
import { temporaryFolder } from '../support/tmp.ts';

test('a sealed one: boxes, head, records, groups of pictures, trailer', async () => {
  const story = await tellStory(await temporaryFolder(), 40);
  await rm(indexPathOf(story.path));
  const { path, dataEnd, sealed, endAt } = story;
  const found = await inspectSegment(path, io, true);
  expect(found).toMatchObject({ state: 'sealed', bytes: sealed.length, head: HEAD, index: null, problems: [] });
  const moovLength = sealed.length - TRAILER_BYTES - dataEnd;
  expect(found.boxes).toEqual([
    { type: 'ftyp', offset: 0, length: 32 },
    { type: 'mdat', offset: 32, length: dataEnd - 32 },
    { type: 'moov', offset: dataEnd, length: moovLength },
    { type: 'uuid', offset: dataEnd + moovLength, length: TRAILER_BYTES },
  ]);
  const counts = Object.entries(found.records).map(([type, { count, frames }]) => [type, count, frames]);
  expect(counts).toEqual([
    ['head', 1, 0],
    ['configuration', 2, 0],
    ['frame', 40, 40],
    ['group', 10, 70],
    ['anchor', 1, 0],
    ['end', 1, 0],
  ]);
  const bytes = Object.values(found.records).reduce((sum, count) => sum + count.bytes, 0);
  expect(bytes).toBe(dataEnd - 48);
  expect(found.groupsOfPictures.map(({ frames }) => frames)).toEqual([10, 10, 10, 10]);
  expect(found.list).toHaveLength(55);
  expect(found.list?.at(-1)).toMatchObject({ type: 'end', offset: endAt });
  expect(found.trailer).toMatchObject({ repairGeneration: 0, moov: { offset: dataEnd } });
});

test('an open one: its pseudo-header, and up to where that describes it', async () => {
  const story = await tellStory(await temporaryFolder(), 40);
  await restore(story.path, openBytes(story, story.endAt), story.index);
  const found = await inspectSegment(story.path, io);
  expect(found).toMatchObject({ state: 'open', trailer: null, problems: [], unexplainedBytes: 0 });
  expect(found.index).toMatchObject({ blocks: 4, bytes: story.index.length });
  expect(found.index?.to).toBeLessThanOrEqual(story.endAt);
  expect(found.list).toBeUndefined();
});

test('a torn one, a damaged one, and one that has lost its head', async () => {
  const story = await tellStory(await temporaryFolder(), 40);
  await restore(story.path, openBytes(story, story.endAt - 20), undefined);
  expect((await inspectSegment(story.path, io)).damaged).toMatchObject([[expect.any(Number), story.endAt - 20]]);
  const picture = story.frames.filter(({ track }) => track === 0)[9];
  await writeFile(story.path, Buffer.from(story.sealed).fill(0, picture?.offset, (picture?.offset ?? 0) + 4));
  const damaged = await inspectSegment(story.path, io);
  expect(damaged.problems.map(({ code, from, to }) => [code, from, to])).toEqual([
    ['frame-damaged', (picture?.offset ?? 0) - 32, picture?.recordEnd],
  ]);
  await rm(indexPathOf(story.path));
  await writeFile(story.path, Buffer.from(story.sealed.subarray(0, story.dataEnd)).fill(0, 48, 100));
  expect(await inspectSegment(story.path, io)).toMatchObject({ head: null, problems: [{}, { code: 'head-damaged' }] });
});

test('on the command line, as text and as JSON, and of a foreign file one sentence', async () => {
  const story = await tellStory(await temporaryFolder(), 12);
  const text = await footage('inspect', story.path, '--records');
  expect(text.status).toBe(0);
  expect(text.stdout).toMatch(/^sealed, \d+ bytes, 0 of them in no record\nbox ftyp at 0, 32 bytes\n/);
  expect(text.stdout).toContain(`segment ${HEAD.segment}`);
  expect(text.stdout.match(/^record \d+: frame/gm)).toHaveLength(12);
  expect(text.stdout).toMatch(/no problem\n$/);
  const json = await footage('inspect', story.path, '--json');
  expect(JSON.parse(json.stdout)).toMatchObject({ state: 'sealed', head: HEAD, problems: [] });
  const foreign = await footage('inspect', await mediaFile('h264-only'));
  expect([foreign.status, foreign.stdout]).toEqual([1, '']);
  expect(foreign.stderr).toMatch(/^footage: E_NOT_SEGMENT: .* is no segment of an archive: [^\n]*\n$/);
  const missing = await footage('inspect', `${story.path}.none`);
  expect([missing.status, /E_[A-Z_]+/.exec(missing.stderr)?.[0]]).toEqual([1, 'E_INPUT_MISSING']);
});
