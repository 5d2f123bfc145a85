/** Asks an archive for ranges and judges the answers: samples, times, counts, byte ranges, and that nothing else is sent. */
import { readFile } from 'node:fs/promises';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { expect } from 'vitest';
import { type Archive, FootageError, type Session } from '../../src/index.ts';
import type { SourceFrame } from './archives.ts';
import { expectAnswer } from './compare.ts';
import type { Run } from './footage.ts';
import { type Expected, type ExpectedAnswer, expectedAnswer } from './model.ts';
import type { ReadMovie } from './mp4.ts';
import { bordersOf, type RangeSpec, requestOf } from './ranges.ts';
import type { Request } from './select.ts';

export const CAMERA = 'door';

/** An archive, what is in it, and all that ever was. */
export interface World {
  readonly archive: Archive;
  readonly runs: readonly Run[];
  readonly frames: readonly SourceFrame[];
}

/** An answer that was right. */
export interface Answer {
  readonly request: Request;
  readonly expected: Expected;
  readonly etag: string;
  readonly file: Buffer;
}

export async function checkRanges(world: World, ranges: readonly RangeSpec[]): Promise<Answer[]> {
  const borders = bordersOf(world.runs);
  const answers: Answer[] = [];
  for (const range of ranges) {
    const request = requestOf(range, borders);
    const answer = await checkRange(world, request);
    if (answer !== undefined) answers.push(answer);
  }
  return answers;
}

async function checkRange({ archive, runs, frames }: World, request: Request): Promise<Answer | undefined> {
  const expected = expectedAnswer(runs, request);
  if (expected === 'undecided') return undefined;
  try {
    const planned = await plan(archive, request);
    if ('error' in expected || planned instanceof FootageError) {
      expect(planned instanceof FootageError ? planned.code : 'an answer').toBe(errorOf(expected));
      return undefined;
    }
    const files = new Files();
    const file = await bytesOf(planned, files);
    expect(file.length).toBe(planned.length);
    const movie = expectAnswer(file, expected);
    expectCounts(planned, expected);
    await expectSlices(planned, files, file, request);
    expectNothingElse(file, movie, expected, frames);
    return { request, expected, etag: planned.etag, file };
  } catch (error) {
    throw new Error(`range ${JSON.stringify(request)}`, { cause: error });
  }
}

const errorOf = (expected: Exclude<Expected, 'undecided'>) => ('error' in expected ? expected.error : 'an answer');

async function plan(archive: Archive, request: Request): Promise<Session | FootageError> {
  const { startUtcMs, endUtcMs, ...options } = request;
  const whole = { camera: CAMERA, start: startUtcMs / 1000, end: endUtcMs / 1000, ...options };
  try {
    return await archive.session(whole);
  } catch (error) {
    if (error instanceof FootageError) return error;
    throw error;
  }
}

function expectCounts({ manifest }: Session, expected: ExpectedAnswer): void {
  const { hiddenPictures, silentAudioFrames, droppedAudioFrames, widenedJoints } = manifest;
  expect(expected).toMatchObject({ hiddenPictures, silentAudioFrames, droppedAudioFrames, widenedJoints });
}

/** The files of an answer as they are now; each is read once. */
class Files {
  readonly #read = new Map<string, Buffer>();

  async slice(path: string, offset: number, length: number): Promise<Buffer> {
    const file = this.#read.get(path) ?? (await readFile(path));
    this.#read.set(path, file);
    return file.subarray(offset, offset + length);
  }
}

/** The bytes [start, end) of an answer, from where its slices say. */
async function bytesOf(
  session: Session,
  files = new Files(),
  range = { start: 0, end: session.length },
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const slice of session.slices(range)) {
    pieces.push(slice.kind === 'bytes' ? slice.data : await files.slice(slice.path, slice.offset, slice.length));
  }
  return Buffer.concat(pieces);
}

/** Byte ranges that depend on the request alone: the same at each run. */
async function expectSlices(session: Session, files: Files, file: Buffer, request: Request): Promise<void> {
  for (let i = 1; i <= 3; i++) {
    const start = Math.floor(request.startUtcMs * 7919 * i) % (file.length + 1);
    const range = { start, end: Math.min(file.length, start + (Math.floor(request.endUtcMs * i) % 3000)) };
    expect((await bytesOf(session, files, range)).equals(file.subarray(range.start, range.end))).toBe(true);
  }
}

/** Payload that was not asked for is never sent: it does not lie between the samples either. */
function expectNothingElse(
  file: Buffer,
  { tracks }: ReadMovie,
  expected: ExpectedAnswer,
  frames: readonly SourceFrame[],
): void {
  const sent = new Set<Uint8Array | undefined>(expected.tracks.flatMap(({ samples }) => samples.map((s) => s.payload)));
  const others = new Map(frames.filter(({ data }) => !sent.has(data)).map(({ data }) => [markOf(data, MARK_AT), data]));
  let at = 0;
  for (const { from, to } of [...placesOf(file, tracks), { from: file.length, to: file.length }]) {
    for (; at + MARK_AT + 4 <= from; at++) {
      const other = others.get(markOf(file, at + MARK_AT));
      const same = other !== undefined && markOf(other, 0) === markOf(file, at);
      if (same) expect.fail(`a frame that was not asked for is sent at ${at}`);
    }
    at = Math.max(at, to);
  }
}

/** Where the samples lie in the file, in this order. */
function placesOf(file: Buffer, tracks: ReadMovie['tracks']) {
  const places = tracks.flatMap(({ samples }) =>
    samples.map(({ data }) => {
      const from = data.byteOffset - file.byteOffset;
      return { from, to: from + data.length };
    }),
  );
  return places.toSorted((a, b) => a.from - b.from);
}

/** Payloads are told apart by these bytes: a number, then noise. */
const MARK_AT = 4;
const markOf = (bytes: Uint8Array, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at);

/** What a connection gets. */
async function sentBy(session: Session): Promise<Buffer> {
  const target = new PassThrough();
  const received = buffer(target);
  await session.send(target);
  target.end();
  return received;
}

/** Planned again, perhaps from other sources: the same bytes under the same name. */
export async function checkSame(archive: Archive, { request, etag, file }: Answer): Promise<void> {
  const planned = await plan(archive, request);
  if (planned instanceof FootageError) throw planned;
  expect(planned.etag).toBe(etag);
  expect((await sentBy(planned)).equals(file), 'the same bytes').toBe(true);
}
