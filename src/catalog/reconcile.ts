/**
 * Holds the catalog against the files, which are the truth: segments that it does not know are read (from trailers,
 * not frame by frame), rows without a file are dropped. So a deleted or old catalog costs time, never footage.
 */
import { join, relative } from 'node:path';
import { ioError, systemCode } from '../errors.ts';
import type { Head } from '../format/records.ts';
import type { Trailer } from '../format/trailer.ts';
import { type Disk, openIfThere, type SegmentIo } from '../segment/disk.ts';
import { indexPathOf, isCameraName, journalPathOf, repairedSegmentOf, segmentIdOf } from '../segment/layout.ts';
import { hasSealedPrefix, OpenSegmentReader, readTrailer } from '../segment/reader.ts';
import { extentOf } from '../segment/summary.ts';
import type { Catalog, RowTrack, SegmentRow } from './catalog.ts';
import { inOrder } from './in-order.ts';

/** Files that look like segments but cannot be read as such: reported, not touched here. */
export interface Unreadable {
  readonly camera: string;
  readonly path: string;
  readonly reason: string;
}

export interface SegmentFile {
  readonly camera: string;
  readonly id: string;
  readonly path: string;
  readonly hasIndex: boolean;
  /** A repair of it is under way, or was made: the catalog's last changes may have been lost since. */
  readonly wasRepaired: boolean;
}

/** Files read at once: enough for the threads of the pool, and few enough to be open together. */
const BATCH = 64;

export async function reconcile(archive: string, catalog: Catalog, io: SegmentIo): Promise<Unreadable[]> {
  // In this order: a segment that another process begins meanwhile is a file without a row, never a row without a file.
  const known = new Map(catalog.identities().map((row) => [row.id, row]));
  const files = await segmentFiles(io.disk, archive);
  const changed = files.filter((file) => {
    const row = known.get(file.id);
    known.delete(file.id);
    // A row is right when it says "sealed", or "open" of a segment that still has its pseudo-header.
    // Compared in place: `relative` would cost more than listing the folders.
    const placed =
      row !== undefined && file.path.endsWith(row.path) && file.path.length === archive.length + 1 + row.path.length;
    return !(placed && !file.wasRepaired && (row.state === 'sealed' || file.hasIndex));
  });
  const unreadable: Unreadable[] = [];
  for (let first = 0; first < changed.length; first += BATCH) {
    const batch = changed.slice(first, first + BATCH);
    const rows = await Promise.all(batch.map((file) => readRow(archive, file, io)));
    catalog.together(() => {
      rows.forEach((row, i) => {
        if ('reason' in row) unreadable.push(row);
        else if (batch[i]?.wasRepaired === true) replace(catalog, row);
        else catalog.put(row);
      });
    });
  }
  if (known.size > 0) {
    catalog.together(() => {
      for (const id of known.keys()) catalog.remove(id);
    });
  }
  return unreadable;
}

/** Also where the row says "sealed" and the segment has lost its end: recovery finishes the repair. */
function replace(catalog: Catalog, row: SegmentRow): void {
  if (row.state === 'open') catalog.remove(row.id);
  catalog.put(row);
}

/** Cameras whose folders are listed at once: mostly it is waiting, and the threads are there for recordings, too. */
const LISTED_AT_ONCE = 4;

/** All segments, by camera. */
export async function segmentFiles(disk: Disk, archive: string): Promise<SegmentFile[]> {
  const cameras = (await namesIn(disk, archive)).filter(isCameraName);
  const found: SegmentFile[][] = [];
  const list = (camera: string) => filesOfCamera(disk, archive, camera);
  for await (const files of inOrder(cameras, LISTED_AT_ONCE, list)) found.push(files);
  return found.flat();
}

async function filesOfCamera(disk: Disk, archive: string, camera: string): Promise<SegmentFile[]> {
  const found: SegmentFile[] = [];
  await segmentsBelow(disk, join(archive, camera), (folder, names) => {
    const segments = new Map<string, string>();
    const others = new Set<string>();
    for (const name of names) {
      const id = segmentIdOf(name);
      if (id === undefined) others.add(name);
      else segments.set(name, id);
    }
    const repaired = new Set([...others].flatMap((name) => repairedSegmentOf(name) ?? []));
    for (const [name, id] of segments) {
      const hasIndex = others.has(indexPathOf(name));
      const wasRepaired = others.has(journalPathOf(name)) || repaired.has(name);
      found.push({ camera, id, path: `${folder}/${name}`, hasIndex, wasRepaired });
    }
  });
  return found;
}

/**
 * Visits a camera's folder and those in it. A name with a dot is taken for a file: to ask the disk of each what it is would
 * cost more than everything else.
 */
async function segmentsBelow(
  disk: Disk,
  folder: string,
  visit: (folder: string, names: readonly string[]) => void,
): Promise<void> {
  const names = await namesIn(disk, folder);
  visit(folder, names);
  for (const name of names) if (!name.includes('.')) await segmentsBelow(disk, `${folder}/${name}`, visit);
}

function emptyIfNotThere(error: unknown): string[] {
  if (systemCode(error) === 'ENOENT' || systemCode(error) === 'ENOTDIR') return [];
  throw ioError(error, 'listing the archive');
}

async function namesIn(disk: Disk, directory: string): Promise<string[]> {
  return disk.readdir(directory).catch(emptyIfNotThere);
}

async function readRow(archive: string, file: SegmentFile, io: SegmentIo): Promise<SegmentRow | Unreadable> {
  const { disk, native } = io;
  const handle = await openIfThere(disk, file.path);
  if (handle === undefined) return { camera: file.camera, path: file.path, reason: 'it disappeared' };
  let taken = false;
  try {
    const trailer = await readTrailer(handle, native);
    const path = relative(archive, file.path);
    // While the pseudo-header is there, the last sync of the sealing may not have returned: recovery repeats it.
    if (trailer?.head.segment === file.id && !file.hasIndex && (await hasSealedPrefix(handle, trailer))) {
      return sealedRow(file.camera, path, trailer);
    }
    taken = true;
    const reader = await OpenSegmentReader.open(handle, file.path, io);
    if (reader === undefined)
      return { camera: file.camera, path: file.path, reason: 'it does not begin with its head' };
    try {
      await reader.refresh();
      const extent = extentOf(reader.contents(true));
      return openRow(file.camera, path, reader.builder.head, extent?.startUtcMs ?? reader.builder.head.anchor.utcMs);
    } finally {
      await reader.close();
    }
  } catch (error) {
    return { camera: file.camera, path: file.path, reason: error instanceof Error ? error.message : String(error) };
  } finally {
    if (!taken) await handle.close();
  }
}

/** Row of a sealed segment; everything in it stands in the trailer. */
export function sealedRow(camera: string, path: string, trailer: Trailer): SegmentRow {
  return {
    id: trailer.head.segment,
    camera,
    path,
    run: trailer.head.run,
    sequence: trailer.head.sequence,
    state: 'sealed',
    startUtcMs: trailer.startUtcMs,
    endUtcMs: trailer.endUtcMs,
    repairGeneration: trailer.repairGeneration,
    recovered: trailer.recovered,
    discontinuous: trailer.discontinuous,
    payload: trailer.payload,
    tracks: rowTracks(trailer),
  };
}

/** A valid trailer has as many tracks as its head. */
function rowTracks({ head, tracks }: Trailer): RowTrack[] {
  return tracks.flatMap((track, i) => {
    const own = head.tracks[i];
    return own === undefined ? [] : [{ ...track, kind: own.kind, timescale: own.timescale }];
  });
}

export function openRow(camera: string, path: string, head: Head, startUtcMs: number): SegmentRow {
  return {
    id: head.segment,
    camera,
    path,
    run: head.run,
    sequence: head.sequence,
    state: 'open',
    startUtcMs,
    endUtcMs: undefined,
    repairGeneration: 0,
    recovered: false,
    discontinuous: false,
    payload: undefined,
    tracks: [],
  };
}
