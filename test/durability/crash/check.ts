/**
 * Holds what is left of an archive against the promise (docs/durability.md): recovers it, and looks for what is missing,
 * invented, deleted or different the second time.
 */
import { createHash } from 'node:crypto';
import { basename, join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Catalog, SegmentRow } from '../../../src/catalog/catalog.ts';
import { openCatalog } from '../../../src/catalog/sqlite-catalog.ts';
import { isDelimiter, RecordType } from '../../../src/format/delimiter.ts';
import { readHead, seedOf } from '../../../src/format/records.ts';
import { decodeTrailer, TRAILER_BYTES } from '../../../src/format/trailer.ts';
import { native } from '../../../src/native.ts';
import { GroupFlusher } from '../../../src/segment/flusher.ts';
import { DATA_START, MDAT_HEADER_AT, segmentIdOf } from '../../../src/segment/layout.ts';
import { readSealed, readTrailer } from '../../../src/segment/reader.ts';
import { verifySegment } from '../../../src/segment/verify.ts';
import type { Footage, MadeFrame } from './footage.ts';
import { filesIn, fileOf, type Image } from './image.ts';
import { MemoryDisk } from './memory-disk.ts';
import { openAndRecover, ROOT } from './process.ts';

export interface Crashed {
  readonly footage: Footage;
  readonly image: Image;
  /** What the catalog says. */
  readonly rows: readonly SegmentRow[];
  /** Numbers of the frames that must be there. */
  readonly promised: ReadonlySet<number>;
}

export interface Checked {
  /** What is broken, one sentence each. */
  readonly problems: readonly string[];
  /** Numbers of the frames that were found. */
  readonly found: ReadonlySet<number>;
  /** The archive when it is recovered. */
  readonly recovered: Image;
}

/** Catalogs are cleared and used again: making one costs more than a check. */
export class Checker {
  readonly #first: UsedCatalog;
  readonly #second: UsedCatalog;
  #checks = 0;

  private constructor(first: Catalog, second: Catalog) {
    this.#first = new UsedCatalog(first);
    this.#second = new UsedCatalog(second);
  }

  static async create(): Promise<Checker> {
    return new Checker(await openCatalog(undefined), await openCatalog(undefined));
  }

  close(): void {
    this.#first.catalog.close();
    this.#second.catalog.close();
  }

  async check({ footage, image, rows, promised }: Crashed): Promise<Checked> {
    const problems: string[] = [];
    this.#first.refill(rows);
    const disk = new MemoryDisk({ base: image });
    const outcomes = await recover(disk, this.#first.catalog, problems);
    const recovered = disk.image;
    const listed = this.#first.list();
    const found = await this.#look(disk, listed, footage, problems);
    for (const id of promised) if (!found.has(id)) problems.push(`frame ${id} was acknowledged and is missing`);
    problems.push(...halfSealed(image));
    problems.push(...deleted(image, recovered, outcomes, footage), ...identities(recovered, this.#heads));
    await this.#again(recovered, listed, problems);
    if (!disk.idle) problems.push('a file was left open');
    return { problems, found, recovered };
  }

  /** UUID of the camera by the segment's path. */
  readonly #heads = new Map<string, string>();

  /** The numbers of all frames in all tables. */
  async #look(
    disk: MemoryDisk,
    rows: readonly SegmentRow[],
    footage: Footage,
    problems: string[],
  ): Promise<ReadonlySet<number>> {
    const found = new Set<number>();
    this.#heads.clear();
    for (const row of rows) {
      if (row.state !== 'sealed') problems.push(`${row.path} is ${row.state}`);
      const path = join(ROOT, row.path);
      const report = await verifySegment(path, disk.io);
      if (report.state !== 'sealed') problems.push(`${row.path} is found ${report.state}`);
      problems.push(...report.problems.map((problem) => `verify of ${row.path}: ${JSON.stringify(problem)}`));
      if (problems.length > 0) return found;
      for (const frame of await this.#frames(disk, row, footage, problems)) {
        if (found.has(frame.id)) problems.push(`frame ${frame.id} is there twice`);
        found.add(frame.id);
      }
    }
    return found;
  }

  async #frames(disk: MemoryDisk, row: SegmentRow, footage: Footage, problems: string[]): Promise<MadeFrame[]> {
    const file = await disk.open(join(ROOT, row.path), 'r');
    try {
      const trailer = await readTrailer(file, disk.io.native);
      if (trailer === undefined) throw new Error(`${row.path} has no trailer`);
      this.#heads.set(row.path, trailer.head.camera);
      const { tracks } = await readSealed(file, trailer, disk.io.native);
      const bytes = new Uint8Array((await file.stat()).size);
      await file.read(bytes, 0, bytes.byteLength, 0);
      return tracks.flatMap(({ samples }, track) =>
        Array.from({ length: samples.count }, (_, i) => {
          const at = samples.offset[i] ?? 0;
          const data = bytes.subarray(at, at + (samples.size[i] ?? 0));
          const made = footage.named(data);
          const shown = [row.camera, track, samples.dts[i], samples.compositionOffset[i], samples.sync[i] === 1];
          if (made === undefined || !isSame(made, shown, data)) {
            problems.push(`${row.path}: track ${track} has a frame at ${at} that was never recorded`);
          }
          return made;
        }).filter((made) => made !== undefined),
      );
    } finally {
      await file.close();
    }
  }

  /** With a new catalog nothing changes on disk, and the same is listed; now and then also with the one that there is. */
  async #again(recovered: Image, listed: readonly SegmentRow[], problems: string[]): Promise<void> {
    this.#second.refill([]);
    await openedAgain('without a catalog', this.#second, { recovered, listed, problems });
    if (this.#checks++ % 3 === 0) await openedAgain('again', this.#first, { recovered, listed, problems });
  }
}

interface Expected {
  readonly recovered: Image;
  readonly listed: readonly SegmentRow[];
  readonly problems: string[];
}

async function openedAgain(what: string, used: UsedCatalog, { recovered, listed, problems }: Expected): Promise<void> {
  const disk = new MemoryDisk({ base: recovered });
  await recover(disk, used.catalog, problems);
  const changed = changes(recovered, disk.image);
  if (changed.length > 0) problems.push(`recovering ${what} changes ${changed.join(', ')}`);
  if (!isDeepStrictEqual(used.list(), listed)) problems.push(`opened ${what} it lists otherwise`);
}

/** A catalog in memory that is used for state after state. */
class UsedCatalog {
  readonly catalog: Catalog;
  #ids: string[] = [];

  constructor(catalog: Catalog) {
    this.catalog = catalog;
  }

  refill(rows: readonly SegmentRow[]): void {
    for (const id of this.#ids) this.catalog.remove(id);
    for (const row of rows) this.catalog.put(row);
    this.#ids = rows.map(({ id }) => id);
  }

  list(): SegmentRow[] {
    const rows = this.catalog.all();
    this.#ids = rows.map(({ id }) => id);
    return rows;
  }
}

function isSame(made: MadeFrame, shown: readonly unknown[], data: Uint8Array): boolean {
  const { camera, track, dts, compositionOffset, sync } = made;
  const meant = [camera, track, dts, compositionOffset, sync];
  return Buffer.compare(made.data, data) === 0 && meant.every((value, i) => value === shown[i]);
}

/** What became of each segment that was recovered, by path. */
async function recover(disk: MemoryDisk, catalog: Catalog, problems: string[]): Promise<Map<string, string>> {
  const reports = await openAndRecover(ROOT, catalog, disk.io, new GroupFlusher(disk.io.native));
  for (const { path, recovery } of reports) {
    if (recovery.outcome === 'failed') problems.push(`${path} is not recovered: ${recovery.error.message}`);
  }
  return new Map(reports.map(({ path, recovery }) => [join(ROOT, path), recovery.outcome]));
}

/** What differs, but for pseudo-headers of sealed segments, which nobody needs: they go when somebody looks at them. */
function changes(before: Image, after: Image): string[] {
  const [was, is] = [before, after].map((image) => new Map(filesIn(image).map(({ path, inode }) => [path, inode])));
  const paths = [...new Set([...(was ?? []), ...(is ?? [])].map(([path]) => path))];
  return paths.filter((path) => {
    const [old, now] = [was?.get(path), is?.get(path)];
    if (old === undefined) return true;
    if (now === undefined) return !path.endsWith('.idx');
    if (before.get(old) === after.get(now)) return false;
    return Buffer.compare(fileOf(before, old).bytes, fileOf(after, now).bytes) !== 0;
  });
}

/** Recorded bytes that are there before and not behind. */
function deleted(before: Image, after: Image, outcomes: ReadonlyMap<string, string>, footage: Footage): string[] {
  const now = new Map(filesIn(after).map(({ path, inode }) => [path, fileOf(after, inode).bytes]));
  return filesIn(before).flatMap(({ path, inode }) => {
    const id = segmentIdOf(basename(path));
    const was = fileOf(before, inode).bytes;
    if (id === undefined) return [];
    const is = now.get(path) ?? now.get(`${path}.unreadable`);
    const seed = seedOf(id, native.crc32c);
    if (is === undefined) {
      const unknown = outcomes.get(path) === 'empty' ? [] : [`${path} is gone, and no report says so`];
      return hasFrame(was, seed, footage) ? [`${path} is gone with a frame in it`] : unknown;
    }
    const at = firstDifference(was, is);
    return at === undefined || hasEndBefore(was, seed, at) ? [] : [`${path} is changed at ${at}`];
  });
}

/** Where recorded bytes begin to be others than they were. */
function firstDifference(was: Uint8Array, is: Uint8Array): number | undefined {
  const recorded = was.subarray(DATA_START);
  const length = Math.min(recorded.byteLength, Math.max(0, is.byteLength - DATA_START));
  if (Buffer.compare(recorded.subarray(0, length), is.subarray(DATA_START, DATA_START + length)) !== 0) {
    return DATA_START + recorded.findIndex((byte, i) => byte !== is[DATA_START + i]);
  }
  return length < recorded.byteLength ? DATA_START + length : undefined;
}

const MAGIC = Buffer.from([0xf5, 0x46, 0x54, 0x4d]);

/** Where the delimiters of a segment are, whatever is between them. */
function delimiters(bytes: Uint8Array, seed: number): number[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: number[] = [];
  for (let at = buffer.indexOf(MAGIC); at !== -1; at = buffer.indexOf(MAGIC, at + 1)) {
    if (isDelimiter(bytes, at, seed, native.crc32c)) found.push(at);
  }
  return found;
}

function hasEndBefore(bytes: Uint8Array, seed: number, limit: number): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return delimiters(bytes, seed).some(
    (at) => bytes[at + 4] === RecordType.end && at + 32 + view.getUint32(at + 8) <= limit,
  );
}

/** Whether a whole picture or the first of a group of sounds lies in the file, as it was recorded. */
function hasFrame(bytes: Uint8Array, seed: number, footage: Footage): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return delimiters(bytes, seed).some((at) => {
    if (bytes[at + 4] !== RecordType.frame) return false;
    const payload = bytes.subarray(at + 32, at + 32 + view.getUint32(at + 8));
    const made = footage.named(payload);
    return made !== undefined && Buffer.compare(made.data, payload) === 0;
  });
}

/** Whoever looks at the files without us: one with the header of an ordinary MP4 is one. */
function halfSealed(image: Image): string[] {
  return filesIn(image).flatMap(({ path, inode }) => {
    const { bytes } = fileOf(image, inode);
    const id = segmentIdOf(basename(path));
    const head = readHead(bytes.subarray(DATA_START), native.crc32c)?.head;
    if (id === undefined || head?.segment !== id || bytes[MDAT_HEADER_AT + 3] !== 1) return [];
    const trailer = decodeTrailer(bytes.subarray(-TRAILER_BYTES), native.crc32c);
    if (trailer === undefined) return [`${path} has the header of a sealed segment and no trailer`];
    const { offset, length, crc } = trailer.moov;
    const holds = native.crc32c(bytes.subarray(offset, offset + length)) === crc;
    return holds ? [] : [`${path} has the header of a sealed segment and a moov that does not hold`];
  });
}

/** The UUID of a camera stays the one that its segments name. */
function identities(image: Image, heads: ReadonlyMap<string, string>): string[] {
  const files = new Map(filesIn(image).map(({ path, inode }) => [path, fileOf(image, inode).bytes]));
  return [...heads].flatMap(([path, uuid]) => {
    const [camera = ''] = path.split('/');
    const text = Buffer.from(files.get(join(ROOT, camera, '.camera')) ?? []).toString('latin1');
    return text === `${uuid}\n` ? [] : [`camera ${camera} has lost its UUID`];
  });
}

const digests = new WeakMap<Uint8Array, string>();

function digestOf(bytes: Uint8Array): string {
  const known = digests.get(bytes) ?? createHash('md5').update(bytes).digest('base64');
  digests.set(bytes, known);
  return known;
}

/** The same for the same files with the same names. */
export function stateDigest(image: Image, rows: readonly SegmentRow[]): string {
  const hash = createHash('md5');
  for (const { path, inode } of filesIn(image)) hash.update(`${path}\n${digestOf(fileOf(image, inode).bytes)}\n`);
  for (const row of rows) hash.update(`${row.id} ${row.state}\n`);
  return hash.digest('base64');
}
