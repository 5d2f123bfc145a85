/**
 * Finds the segments that a range needs, as runs: those that meet it, and earlier ones of a run where the first does not
 * begin with a sync sample. Only those at a border of the range, or where something ends or begins anew, are looked into;
 * the others are known by their rows.
 */
import { open, readdir } from 'node:fs/promises';
import type { Catalog, RowTrack, SegmentRow } from '../catalog/catalog.ts';
import { FootageError, ioError, systemCode } from '../errors.ts';
import type { Crc32c } from '../format/bytes.ts';
import type { Track } from '../media.ts';
import type { SegmentCache } from '../segment/cache.ts';
import { readUpTo } from '../segment/disk.ts';
import { presentedTicks } from '../segment/summary.ts';
import { type SegmentView, trackOfEntry } from '../segment/view.ts';
import { chainsOf } from './chains.ts';
import { sameFormats } from './configuration.ts';
import type { BeginPolicy } from './request.ts';
import { joinRun, type PlanSegment, type Run, type StoredSegment, wholeZone } from './run.ts';
import type { Span } from './select.ts';
import { aroundUtc, type Interval, REACH_S, zonesOf } from './zones.ts';

/** Audio around a cut may lie in the segment before: frames that arrived late, and the one that primes the decoder. */
const MARGIN_MS = REACH_S * 1000;

/** What a plan asks of the catalog. */
export type PlanCatalog = Pick<Catalog, 'segments' | 'open' | 'neighbour' | 'runStart'>;

export interface LoadDeps {
  /** Folder of the archive. */
  readonly archive: string;
  readonly catalog: PlanCatalog;
  readonly cache: SegmentCache;
  readonly tracks: TrackCache;
}

/** Tracks by their sample entries: a camera has few, and a range many segments. */
export class TrackCache {
  readonly #known = new Map<string, Track>();

  readonly #crc32c: Crc32c;

  constructor(crc32c: Crc32c) {
    this.#crc32c = crc32c;
  }

  /**
   * The track of a sealed segment, read from its file once for each sample entry.
   * @throws FootageError E_DAMAGED for an entry that is not the one of the row: it must not stand for others
   */
  async of({ tables, kind, timescale }: RowTrack, path: string): Promise<Track> {
    const { crc, length, offset } = tables.stsd;
    const key = `${kind}/${timescale}/${crc}/${length}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const entry = await readEntry(path, offset, length);
    if (entry.byteLength !== length || this.#crc32c(entry) !== crc) {
      throw new FootageError('E_DAMAGED', `The sample entry of segment ${path} is damaged: run "footage verify".`);
    }
    const track = trackOfEntry(entry, kind, timescale);
    this.#known.set(key, track);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_TRACKS && oldest !== undefined) this.#known.delete(oldest);
    return track;
  }
}

const MAX_TRACKS = 256;

/**
 * Rows of the segments that may meet the span. The row of an open segment tells where its first frame lies: pictures
 * that lead it, or sound kept from before, may lie earlier.
 */
export function rowsOf(camera: string, span: Span, { catalog }: LoadDeps): SegmentRow[] {
  const rows = catalog.segments(camera, span.startUtcMs - MARGIN_MS, span.endUtcMs + MARGIN_MS);
  const known = new Set(rows.map((row) => row.id));
  const soon = catalog.open().filter((row) => row.camera === camera && !known.has(row.id));
  return [...rows, ...soon.filter((row) => row.startUtcMs < span.endUtcMs + EARLY_MS)];
}

/** No frame lies this far before the first one of its segment. */
const EARLY_MS = 60_000;

/** A segment, or a chain, before it is known what of it has to be looked at, and the wall time that it presents. */
interface Candidate extends Span, StoredSegment {
  readonly links: readonly StoredSegment[];
  /** Per track; undefined where there are no samples of it. */
  readonly tracks: readonly (Track | undefined)[];
  readonly view: SegmentView | undefined;
}

/** What has to be looked at besides what the rows tell. */
export interface Look extends Span {
  readonly begin?: BeginPolicy;
  /** Wall times inside the span around which samples are looked at one by one, too. */
  readonly marksUtcMs?: readonly number[];
}

export async function loadRuns(rows: readonly SegmentRow[], span: Look, deps: LoadDeps): Promise<Run[]> {
  await deps.cache.keepOpen(new Set(deps.catalog.open().map((row) => row.id)));
  const runs: Run[] = [];
  for (const own of byRun(rows)) runs.push(...(await loadRun(own, span, deps)));
  return runs;
}

/** The rows of each run, by sequence number. */
export function byRun(rows: readonly SegmentRow[]): SegmentRow[][] {
  const runs = new Map<string, SegmentRow[]>();
  for (const row of rows) {
    const own = runs.get(row.run);
    if (own === undefined) runs.set(row.run, [row]);
    else own.push(row);
  }
  return [...runs.values()].map((own) => own.toSorted((a, b) => a.sequence - b.sequence));
}

async function loadRun(rows: readonly SegmentRow[], span: Look, deps: LoadDeps): Promise<Run[]> {
  const known: Candidate[] = [];
  const isWhole = (row: SegmentRow) => row.endUtcMs !== undefined && marksIn(spanOfRow(row), span).length === 0;
  for (const chain of chainsOf(rows, isWhole)) known.push(...(await candidate(chain, deps)));
  const candidates = known.filter((one) => mayMeet(one, span));
  const [first] = candidates;
  if (first === undefined) return [];
  await addEarlier(candidates, span, deps);
  await addLater(candidates, span, deps);
  const present = unchained(await withFiles(unchained(candidates, span), span), span);
  const joints = jointsOf(present, span);
  const found: Candidate[] = [];
  for (const one of present) found.push(...(needsView(one, joints, span) ? await look(one, deps) : [one]));
  const segments = found.map((one) => planSegment(one, joints, span));
  let startUtcMs = deps.catalog.runStart(first.row.run);
  for (const one of [...known, ...candidates]) startUtcMs = Math.min(startUtcMs, one.startUtcMs);
  return subRuns(segments).map((own) => joinRun(first.row.run, startUtcMs, own));
}

const spanOfRow = ({ startUtcMs, endUtcMs = Infinity }: SegmentRow): Span => ({ startUtcMs, endUtcMs });

/** A chain that has to be looked into is none. */
function unchained(candidates: readonly Candidate[], span: Look): readonly Candidate[] {
  const joints = jointsOf(candidates, span);
  const isOpened = (one: Candidate) => one.links.length > 1 && needsView(one, joints, span);
  if (!candidates.some(isOpened)) return candidates;
  return unchained(
    candidates.flatMap((one) => (isOpened(one) ? singlesOf(one, one.links) : [one])),
    span,
  );
}

/** Links of a chain one by one. */
function singlesOf({ tracks }: Candidate, links: readonly StoredSegment[]): Candidate[] {
  return links.map((link) => ({ ...link, ...spanOfRow(link.row), links: [link], tracks, view: undefined }));
}

/** The rows of open segments do not tell where they end: the same is left out as if they were sealed. */
function mayMeet(candidate: Candidate, { startUtcMs, endUtcMs }: Span): boolean {
  return candidate.startUtcMs < endUtcMs + MARGIN_MS && candidate.endUtcMs > startUtcMs - MARGIN_MS;
}

/** Without those whose files are gone, which nobody would see of segments that are not looked into. */
async function withFiles(candidates: readonly Candidate[], span: Look): Promise<readonly Candidate[]> {
  const joints = jointsOf(candidates, span);
  const unseen = new Set(candidates.filter((one) => !needsView(one, joints, span)));
  // A folder is listed in the time of a few looks at single files, and holds a day.
  const folders = new Set([...unseen].flatMap(({ links }) => links.map(({ path }) => folderOf(path))));
  const files = new Set((await Promise.all([...folders].map(filesIn))).flat());
  return candidates.flatMap((one) => {
    const there = unseen.has(one) ? one.links.filter(({ path }) => files.has(path)) : one.links;
    return there.length === one.links.length ? [one] : singlesOf(one, there);
  });
}

/** As `dirname`, of a path that has a folder. */
const folderOf = (path: string) => path.slice(0, path.lastIndexOf('/'));

async function filesIn(folder: string): Promise<string[]> {
  try {
    return (await readdir(folder)).map((name) => `${folder}/${name}`);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw ioError(error, `listing ${folder}`);
  }
}

/** Of one row, or those of a chain. None of an open one whose file is gone. */
async function candidate(rows: readonly SegmentRow[], deps: LoadDeps): Promise<Candidate[]> {
  const links = rows.map((row) => ({ row, path: `${deps.archive}/${row.path}` }));
  const [first, last] = [links[0], links.at(-1)];
  if (first === undefined || last === undefined) return [];
  const { row, path } = first;
  const span = { startUtcMs: row.startUtcMs, endUtcMs: last.row.endUtcMs ?? Infinity };
  if (row.state === 'open') return look({ row, path, links, ...span, tracks: [], view: undefined }, deps);
  const tracks: (Track | undefined)[] = [];
  for (const own of row.tracks) tracks.push(own.samples > 0 ? await deps.tracks.of(own, path) : undefined);
  return [{ row, path, links, ...span, tracks, view: undefined }];
}

async function look(candidate: Candidate, { cache }: LoadDeps): Promise<Candidate[]> {
  if (candidate.view !== undefined) return [candidate];
  const { row, path, links } = candidate;
  const view = await cache.view({ id: row.id, path, state: row.state, repairGeneration: row.repairGeneration });
  if (view === undefined) return [];
  const tracks = view.tracks.map(({ track, tables }) => (tables.count > 0 ? track : undefined));
  const { startUtcMs, endUtcMs } = row.state === 'sealed' ? candidate : presentedSpan(view);
  return [{ row, path, links, startUtcMs, endUtcMs, tracks, view }];
}

/**
 * A segment cut at its hard size limit begins in the middle of a GOP: decoding begins in an earlier one. So it does where
 * the span begins before the segment's first sync sample is shown, with leading pictures or the last ones before the cut.
 */
async function addEarlier(candidates: Candidate[], span: Span, deps: LoadDeps): Promise<void> {
  const [first] = candidates;
  if (first === undefined || first.row.sequence === 0) return;
  const earlier = ({ run, sequence }: SegmentRow) => deps.catalog.neighbour(run, sequence, -1);
  let row = earlier(first.row);
  if (beginsWithSync(first)) {
    if (row?.sequence !== first.row.sequence - 1) return;
    const [looked = first] = await look(first, deps);
    if (!beginsBehind(looked, span)) return;
  }
  for (; row !== undefined; row = earlier(row)) {
    const [before] = await candidate([row], deps);
    if (before === undefined) return;
    candidates.unshift(before);
    if (beginsWithSync(before)) return;
  }
}

/** Whether the first picture in decode order is shown behind the begin of the span. */
function beginsBehind({ view }: Candidate, { startUtcMs }: Span): boolean {
  const [first] = pictureTimes(view, (count) => [0, Math.min(1, count)]);
  return first !== undefined && first > startUtcMs;
}

/** The last picture of a segment is on the screen until the first of the next one, which may be longer than it is told. */
async function addLater(candidates: Candidate[], { endUtcMs }: Span, deps: LoadDeps): Promise<void> {
  const last = candidates.at(-1);
  const next = last && deps.catalog.neighbour(last.row.run, last.row.sequence, 1);
  if (last === undefined || next?.sequence !== last.row.sequence + 1) return;
  const [looked] = await look(last, deps);
  const times = pictureTimes(looked?.view, (count) => [Math.max(0, count - OUTER_SAMPLES), count]);
  if (Math.max(...times) < endUtcMs) candidates.push(...(await candidate([next], deps)));
}

/** Wall times at which pictures are shown; of samples that are chosen by how many there are. */
function pictureTimes(view: SegmentView | undefined, choose: (count: number) => readonly [number, number]): number[] {
  const at = view?.tracks.findIndex(({ track, tables }) => track.kind === 'video' && tables.count > 0) ?? -1;
  const [tables, clock] = [view?.tracks[at]?.tables, view?.clocks[at]];
  if (tables === undefined || clock === undefined) return [];
  const { dts, compositionOffset } = tables.window(...choose(tables.count));
  return Array.from(dts, (ticks, i) => clock.utcMs(ticks + (compositionOffset[i] ?? 0), ticks));
}

function beginsWithSync({ row, view }: Candidate): boolean {
  const tables = view?.tracks.find(({ track, tables: own }) => track.kind === 'video' && own.count > 0)?.tables;
  if (tables !== undefined) return tables.window(0, 1).sync[0] === 1;
  const video = row.tracks.find(({ kind, samples }) => kind === 'video' && samples > 0);
  return video?.firstSync ?? true;
}

/**
 * Where something begins, ends or begins anew, as far around as samples of that time may lie in the file: seconds of the
 * run. They may reach into segments before and behind.
 */
function jointsOf(all: readonly Candidate[], span: Look): Interval[] {
  const joints: Interval[] = [];
  const add = (fromS: number, toS: number) => joints.push({ fromS: fromS - REACH_S, toS: toS + REACH_S });
  // Segments with sync samples in which a beginning may still have to be looked for.
  let wanted = 0;
  for (let i = 0; i <= all.length; i++) {
    const [before, behind] = [all[i - 1], all[i]];
    const follow = follows(before, behind);
    if (!follow) add(before ? endsOf(before).earliest : -Infinity, behind ? beginsOf(behind).latest : Infinity);
    if (behind === undefined) break;
    if (!follow && !beginsWithSync(behind)) wanted = 1;
    if (span.begin === 'next' && behind.startUtcMs <= span.startUtcMs) wanted = 2;
    if (wanted > 0 || behind.row.discontinuous || behind.view?.discontinuous) {
      add(beginsOf(behind).earliest, endsOf(behind).latest);
    }
    if (wanted > 0 && hasSync(behind)) wanted--;
  }
  return joints;
}

/** Whether a segment has a sync sample, or no video that needs one. */
function hasSync({ row, view }: Candidate): boolean {
  const tables = view?.tracks.find(({ track, tables: own }) => track.kind === 'video' && own.count > 0)?.tables;
  if (tables !== undefined) return tables.syncAfter(0) < tables.count;
  const video = row.tracks.find(({ kind, samples }) => kind === 'video' && samples > 0);
  return video === undefined || video.syncSamples > 0;
}

/** Rows of sealed segments are enough where nothing begins, ends or is cut. */
function needsView(candidate: Candidate, joints: readonly Interval[], span: Look): boolean {
  return marksIn(candidate, span).length > 0 || jointsIn(candidate, joints).length > 0;
}

/** Wall times in a segment that have to be looked at. */
function marksIn(candidate: Span, { startUtcMs, endUtcMs, marksUtcMs = [] }: Look): number[] {
  const [from, to] = [candidate.startUtcMs - MARGIN_MS, candidate.endUtcMs + MARGIN_MS];
  const marks = marksUtcMs.filter((utcMs) => from < utcMs && utcMs < to);
  if (from < startUtcMs) marks.push(startUtcMs);
  if (to > endUtcMs) marks.push(endUtcMs);
  return marks;
}

function jointsIn(candidate: Candidate, joints: readonly Interval[]): Interval[] {
  const [fromS, toS] = [beginsOf(candidate).earliest, endsOf(candidate).latest];
  return joints.filter((joint) => joint.fromS < toS && joint.toS > fromS);
}

/** The first presented picture is among so many, and so is the last, unless the clock jumps. */
const OUTER_SAMPLES = 64;

/**
 * What an open segment presents, of which the row does not tell begin and end exactly. It may have a successor already:
 * then it will be sealed as it is.
 */
function presentedSpan(view: SegmentView): Span {
  if (!view.steady) return presentedOf(view, (count) => [0, count]);
  const { startUtcMs } = presentedOf(view, (count) => [0, Math.min(count, OUTER_SAMPLES)]);
  const { endUtcMs } = presentedOf(view, (count) => [Math.max(0, count - OUTER_SAMPLES), count]);
  return { startUtcMs, endUtcMs };
}

/** What is presented of samples [from, to) that are chosen by how many a track has. */
function presentedOf(view: SegmentView, choose: (count: number) => readonly [number, number]): Span {
  let [startUtcMs, endUtcMs] = [Infinity, -Infinity];
  view.tracks.forEach(({ track, tables }, t) => {
    const samples = tables.window(...choose(tables.count));
    for (let i = 0; i < samples.count; i++) {
      const presented = presentedTicks({ track, samples }, i);
      const clock = view.clocks[t];
      if (presented === undefined || clock === undefined) continue;
      startUtcMs = Math.min(startUtcMs, clock.utcMs(presented.from, samples.dts[i] ?? 0));
      endUtcMs = Math.max(endUtcMs, clock.utcMs(presented.to, samples.dts[i] ?? 0));
    }
  });
  return { startUtcMs, endUtcMs };
}

/** Whether every track goes on from one segment to the next, in the same format. */
function follows(before: Candidate | undefined, behind: Candidate | undefined): boolean {
  const last = before?.links.at(-1)?.row.sequence;
  if (before === undefined || behind === undefined || last === undefined) return false;
  if (behind.row.sequence !== last + 1) return false;
  if (!sameFormats(before.tracks, behind.tracks)) return false;
  const ends = extents(before);
  return extents(behind).every(({ first }, i) => first === ends[i]?.end);
}

/** First DTS and end of a track. */
interface Extent {
  readonly timescale: number;
  readonly first: number | undefined;
  readonly end: number | undefined;
}

function extents({ row, links, view }: Candidate): Extent[] {
  if (view === undefined) {
    const ends = links.at(-1)?.row.tracks;
    return row.tracks.map(({ timescale, firstDts }, i) => ({ timescale, first: firstDts, end: ends?.[i]?.endDts }));
  }
  return view.tracks.map(({ track: { timescale }, tables }) => {
    if (tables.count === 0) return { timescale, first: undefined, end: undefined };
    const last = tables.window(tables.count - 1, tables.count);
    return { timescale, first: tables.dts(0), end: (last.dts[0] ?? 0) + (last.duration[0] ?? 0) };
  });
}

/** Seconds of the run at which the tracks of a segment begin. */
function beginsOf(candidate: Candidate): { readonly earliest: number; readonly latest: number } {
  return outermost(extents(candidate).map(({ first, timescale }) => first && first / timescale));
}

/** Seconds of the run at which the tracks of a segment end. */
function endsOf(candidate: Candidate): { readonly earliest: number; readonly latest: number } {
  return outermost(extents(candidate).map(({ end, timescale }) => end && end / timescale));
}

function outermost(instants: readonly (number | undefined)[]): { readonly earliest: number; readonly latest: number } {
  const present = instants.filter((instant) => instant !== undefined);
  return { earliest: Math.min(...present), latest: Math.max(...present) };
}

function planSegment(candidate: Candidate, joints: readonly Interval[], span: Look): PlanSegment {
  const { row, path, links, view, tracks } = candidate;
  if (view === undefined) return { row, path, links, view, zones: [wholeZone(links)], tracks };
  const marks = marksIn(candidate, span).map((utcMs) => aroundUtc(view, utcMs));
  const intervals = [...jointsIn(candidate, joints), ...marks];
  return { row, path, links, view, zones: zonesOf(view, intervals), tracks };
}

async function readEntry(path: string, offset: number, length: number): Promise<Uint8Array> {
  const file = await open(path).catch((error: unknown) => {
    throw ioError(error, `opening ${path}`);
  });
  try {
    return await readUpTo(file, offset, length);
  } finally {
    await file.close();
  }
}

/** Pieces of a run within which codec and audio format stay the same. */
function subRuns(segments: readonly PlanSegment[]): PlanSegment[][] {
  const runs: PlanSegment[][] = [];
  let formats: (Track | undefined)[] = [];
  for (const segment of segments) {
    if (runs.length === 0 || !sameFormats(formats, segment.tracks)) {
      runs.push([]);
      formats = [];
    }
    runs.at(-1)?.push(segment);
    segment.tracks.forEach((track, i) => (formats[i] ??= track));
  }
  return runs;
}
