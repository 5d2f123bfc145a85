/**
 * Random damage to a segment, and what must hold whatever it hit: it is found, or nothing of it is read; a repair loses
 * no frame whose record is intact but pictures between a lost one and the next sync sample, invents none, deletes
 * nothing, leaves a segment that is sound, and has nothing to do a second time.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Journal } from '../../src/segment/repair-journal.ts';
import { TRAILER_BYTES } from '../../src/format/trailer.ts';
import { native } from '../../src/native.ts';
import { DATA_START, indexPathOf } from '../../src/segment/layout.ts';
import { readSealed, readTrailer } from '../../src/segment/reader.ts';
import { recoverSegment } from '../../src/segment/recover.ts';
import { type Repair, repairSegment } from '../../src/segment/repair.ts';
import { verifySegment } from '../../src/segment/verify.ts';
import { framesOf, io, openBytes, quickFlusher, tellStory, type Written } from '../support/segment.ts';

/** A sealed segment whose frames are known. */
export interface Subject {
  readonly name: string;
  readonly path: string;
  readonly bytes: Buffer;
  /** Those that its tables name. */
  readonly frames: readonly Frame[];
  /** Intact ones that an earlier hole has put out of the tables. */
  readonly hidden: readonly Frame[];
  readonly dataEnd: number;
}

type Frame = Omit<Written, 'recordEnd'> & { readonly recordAt: number; readonly recordEnd: number };

/** Numbers in [0, 1), the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0;
    const mixed = Math.imul(state ^ (state >>> 13), 0x85ebca6b) >>> 0;
    return ((mixed ^ (mixed >>> 16)) >>> 0) / 2 ** 32;
  };
}

const REPAIR = { ...io, flusher: quickFlusher(), wasSealed: true };

/** One that its recorder sealed, one that recovery did behind a torn tail, and one that was repaired before. */
export async function makeSubjects(folder: string): Promise<Subject[]> {
  const fresh = await subject(join(folder, 'fresh'), 'sealed by its recorder', async () => undefined);
  const torn = await subject(join(folder, 'torn'), 'recovered', async (path, bytes, endAt) => {
    await writeFile(path, openBytes({ sealed: bytes }, endAt - 300));
    await recoverSegment(path, REPAIR);
  });
  const mended = await subject(join(folder, 'mended'), 'repaired', async (path, bytes) => {
    await writeFile(path, Buffer.from(bytes).fill(0, 3000, 3100));
    assert.equal((await repairSegment(path, REPAIR)).outcome, 'repaired');
  });
  return [fresh, torn, mended];
}

async function subject(
  folder: string,
  name: string,
  change: (path: string, bytes: Buffer, endAt: number) => Promise<unknown>,
): Promise<Subject> {
  const { path, frames, sealed, endAt } = await tellStory(folder, 64);
  await rm(indexPathOf(path));
  await change(path, sealed, endAt);
  for (const name of await readdir(dirname(path))) if (name !== basename(path)) await rm(join(dirname(path), name));
  const kept = await frameList(path);
  const places = new Set(kept.map(({ offset }) => offset));
  const records = withRecords(frames);
  const named = records.filter(({ offset }) => places.has(offset));
  assert.equal(named.length, kept.length);
  assert.deepEqual((await verifySegment(path, io)).problems, []);
  const bytes = await readFile(path);
  const isThere = ({ recordAt: from, recordEnd: to }: Frame) =>
    bytes.subarray(from, to).equals(sealed.subarray(from, to));
  const hidden = records.filter((frame) => !places.has(frame.offset) && isThere(frame));
  return { name, path, bytes, frames: named, hidden, dataEnd: (await trailerOf(path)).moov.offset };
}

/** A frame of a group is intact when all of the group is. */
function withRecords(frames: readonly Written[]): Frame[] {
  const starts = new Map<number, number>();
  for (const { recordEnd, offset, track } of frames) {
    if (starts.has(recordEnd)) continue;
    const count = frames.filter((one) => one.recordEnd === recordEnd).length;
    starts.set(recordEnd, offset - 32 - (track === 0 ? 0 : 4 + 8 * count));
  }
  return frames.map((frame) => ({ ...frame, recordAt: starts.get(frame.recordEnd) ?? 0 }));
}

async function trailerOf(path: string) {
  const file = await open(path);
  try {
    const trailer = await readTrailer(file, native);
    assert.ok(trailer, 'a trailer');
    return trailer;
  } finally {
    await file.close();
  }
}

async function frameList(path: string) {
  const file = await open(path);
  try {
    return framesOf(await readSealed(file, await trailerOf(path), native));
  } finally {
    await file.close();
  }
}

export const KINDS = ['flip', 'zeros', 'garbage', 'cut'] as const;
export const PLACES = ['header', 'head', 'records', 'delimiter', 'moov', 'trailer', 'anywhere'] as const;

export interface Damage {
  readonly kind: (typeof KINDS)[number];
  readonly place: (typeof PLACES)[number];
  readonly bytes: Buffer;
  readonly note: string;
}

export function damage({ bytes, frames, dataEnd }: Subject, random: () => number): Damage {
  const pick = <T>(list: readonly T[]) => list[Math.floor(random() * list.length)] as T;
  const [kind, place] = [pick(KINDS), pick(PLACES)];
  const within = (from: number, to: number) => from + Math.floor(random() * (to - from));
  const at = {
    header: () => within(0, DATA_START),
    head: () => within(DATA_START, (frames[0]?.recordAt ?? 0) - 1),
    records: () => within(DATA_START, dataEnd),
    delimiter: () => pick(frames).recordAt + within(0, 32),
    moov: () => within(dataEnd, bytes.length - TRAILER_BYTES),
    trailer: () => within(bytes.length - TRAILER_BYTES, bytes.length),
    anywhere: () => within(0, bytes.length),
  }[place]();
  const hurt = harm(bytes, kind, at, pick([16, 100, 512, 4096]), random);
  return { kind, place, bytes: hurt, note: `${kind} at ${at} (${place})` };
}

function harm(bytes: Buffer, kind: Damage['kind'], at: number, length: number, random: () => number): Buffer {
  if (kind === 'cut') return Buffer.from(bytes.subarray(0, at));
  const hurt = Buffer.from(bytes);
  if (kind === 'flip') hurt[at] = (hurt[at] ?? 0) ^ (1 << Math.floor(random() * 8));
  else for (let i = at; i < Math.min(at + length, hurt.length); i++) hurt[i] = kind === 'zeros' ? 0 : random() * 256;
  return hurt;
}

export interface Verdict {
  readonly found: boolean;
  readonly outcome: Repair['outcome'];
  /** Frames that were intact, and are in no table any more. */
  readonly unreferenced: number;
}

/** Damages the file, and throws if anything that must hold does not. Leaves the folder as it was. */
export async function judge(subject: Subject, { bytes, note }: Damage): Promise<Verdict> {
  const { path } = subject;
  await writeFile(path, bytes);
  try {
    const { problems } = await verifySegment(path, io, { wasSealed: true });
    const repair = await repairSegment(path, REPAIR);
    if (repair.outcome === 'failed') throw repair.error;
    if (problems.length === 0) await checkHarmless(subject, repair, bytes);
    if (repair.outcome === 'repaired') await checkRepaired(subject, repair, bytes);
    if (repair.outcome === 'set-aside') await checkSetAside(subject, repair, bytes);
    const unreferenced = repair.outcome === 'repaired' ? repair.unreferenced : 0;
    return { found: problems.length > 0, outcome: repair.outcome, unreferenced };
  } catch (error) {
    throw new Error(`${subject.name}, ${note}: ${String(error)}`, { cause: error });
  } finally {
    await cleanUp(subject);
  }
}

/** The segment as it was; what repairs have left beside it goes. */
async function cleanUp({ path, bytes }: Subject): Promise<void> {
  const beside = await readdir(dirname(path));
  for (const name of beside) await rm(join(dirname(path), name));
  await writeFile(path, bytes);
}

/** Nothing that anybody reads has changed. */
async function checkHarmless(subject: Subject, repair: Repair, bytes: Buffer): Promise<void> {
  assert.equal(repair.outcome, 'sound');
  assert.ok((await readFile(subject.path)).equals(bytes), 'a sound segment is not touched');
  for (const { recordAt, recordEnd } of subject.frames) assert.ok(isIntact(subject, bytes, recordAt, recordEnd));
  const [from, to] = [subject.dataEnd, subject.bytes.length];
  assert.ok(isIntact(subject, bytes, 0, DATA_START) && isIntact(subject, bytes, from, to) && bytes.length === to);
}

const isIntact = (subject: Subject, bytes: Buffer, from: number, to: number) =>
  to <= bytes.length && subject.bytes.subarray(from, to).equals(bytes.subarray(from, to));

async function checkRepaired(
  subject: Subject,
  repair: Extract<Repair, { outcome: 'repaired' }>,
  bytes: Buffer,
): Promise<void> {
  const { path } = subject;
  assert.deepEqual((await verifySegment(path, io)).problems, [], 'it is sound');
  const after = await readFile(path);
  assert.deepEqual(await repairSegment(path, REPAIR), { outcome: 'sound' });
  assert.ok((await readFile(path)).equals(after), 'a second repair changes nothing');
  const named = await frameList(path);
  assert.equal(named.length, repair.frames);
  const lost = checkFrames(subject, bytes, named, after);
  const hidden = subject.hidden.filter(({ recordAt, recordEnd }) => isIntact(subject, bytes, recordAt, recordEnd));
  assert.equal(repair.unreferenced, lost + hidden.length, 'what is left out is reported');
  assert.ok(repair.kept !== null, 'what was replaced is kept');
  assert.ok((await undone(path)).equals(bytes), 'nothing is deleted');
}

/** Returns how many intact frames are in no table. */
function checkFrames(
  subject: Subject,
  bytes: Buffer,
  named: readonly Omit<Written, 'recordEnd'>[],
  after: Buffer,
): number {
  const byOffset = new Map(named.map((frame) => [frame.offset, frame]));
  const tablesHeld = isIntact(subject, bytes, subject.dataEnd, subject.bytes.length);
  let left = 0;
  let waiting = false;
  let end = DATA_START;
  for (const frame of subject.frames.toSorted((a, b) => a.offset - b.offset)) {
    const intact = isIntact(subject, bytes, frame.recordAt, frame.recordEnd);
    // Without tables nobody knows what was lost: it may have been a picture.
    if (!tablesHeld && !isIntact(subject, bytes, end, frame.recordAt)) waiting = true;
    end = Math.max(end, frame.recordEnd);
    if (frame.track === 0 && intact && frame.sync) waiting = false;
    const found = byOffset.get(frame.offset);
    if (found !== undefined) checkFrame(subject, frame, found, after);
    assert.equal(found !== undefined && !intact, false, 'a damaged frame is in no table');
    assert.ok(found !== undefined || !intact || (waiting && frame.track === 0), `the frame at ${frame.offset} is lost`);
    if (found === undefined && intact) left++;
    if (!intact && (frame.track === 0 || !tablesHeld)) waiting = true;
    byOffset.delete(frame.offset);
  }
  assert.equal(byOffset.size, 0, 'no frame is invented');
  return left;
}

/** But for the length of the last one before a hole, it is as it was. */
function checkFrame(subject: Subject, frame: Frame, found: Omit<Written, 'recordEnd'>, after: Buffer): void {
  const { track, dts, size, sync, compositionOffset, offset } = frame;
  assert.deepEqual({ ...found, duration: 0 }, { track, dts, size, sync, compositionOffset, offset, duration: 0 });
  assert.ok(after.subarray(offset, offset + size).equals(subject.bytes.subarray(offset, offset + size)));
}

const numberOf = (name: string) => Number(/\d+$/.exec(name)?.[0]);

/** The segment as it was before its repairs, by what they have kept. */
export async function undone(path: string): Promise<Buffer> {
  const folder = dirname(path);
  const kept = (await readdir(folder)).filter((name) => name.includes('.before-repair-'));
  let bytes = await readFile(path);
  for (const name of kept.toSorted((a, b) => numberOf(b) - numberOf(a))) {
    const [line = ''] = (await readFile(join(folder, name), 'utf8')).split('\n');
    const { length, replaced } = JSON.parse(line) as Journal;
    bytes = Buffer.from(bytes.subarray(0, length));
    for (const { at, bytes: hex } of replaced) bytes.set(Buffer.from(hex, 'hex').subarray(0, length - at), at);
  }
  return bytes;
}

/** Only where nobody can say what the bytes are: the beginning is lost, and its copies at the end with it; or all is. */
async function checkSetAside(
  subject: Subject,
  repair: Extract<Repair, { outcome: 'set-aside' }>,
  bytes: Buffer,
): Promise<void> {
  assert.ok((await readFile(repair.path)).equals(bytes), 'its bytes are kept');
  assert.ok(!existsSync(subject.path));
  const first = subject.frames[0]?.recordAt ?? 0;
  const beginHolds = isIntact(subject, bytes, DATA_START, first);
  const endHolds =
    isIntact(subject, bytes, subject.dataEnd, subject.bytes.length) && bytes.length === subject.bytes.length;
  const frames = subject.frames.filter(({ recordAt, recordEnd }) => isIntact(subject, bytes, recordAt, recordEnd));
  assert.ok(frames.length === 0 || (!beginHolds && !endHolds), 'it could have been understood');
}
