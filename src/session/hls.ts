/**
 * HLS of a camera: playlists for any range and for the present, and the files that they name. Nothing is planned ahead
 * and nothing is kept on disk: a playlist follows from the sync samples of its segments, a file from its name.
 */
import { join } from 'node:path';
import type { Catalog, SegmentRow, SegmentSpan } from '../catalog/catalog.ts';
import { FootageError } from '../errors.ts';
import type { SegmentCache } from '../segment/cache.ts';
import type { SegmentView } from '../segment/view.ts';
import { LiveList, WINDOW_S } from './hls-live.ts';
import { etagOf, initFile, initOf, mediaOf } from './hls-media.ts';
import {
  type Entry,
  entriesOf,
  type HlsSegment,
  longestS,
  masterPlaylist,
  mediaPlaylist,
  type UnitOf,
} from './hls-playlist.ts';
import { givenTracks, type HlsTracks, type Unit, unitsOf } from './hls-units.ts';
import { byRun } from './load.ts';
import type { Span } from './select.ts';
import type { AnswerParts } from './session.ts';
import { VirtualFile } from './virtual-file.ts';

interface Wanted {
  readonly camera: string;
  readonly tracks: HlsTracks;
}

export type HlsRequest = Wanted &
  (
    | { readonly kind: 'vod'; readonly span: Span }
    | { readonly kind: 'live' }
    /** `address` is that of the playlist it names: of the span, or else the live one. */
    | { readonly kind: 'master'; readonly span: Span | undefined; readonly address: string }
    | { readonly kind: 'media'; readonly segment: string; readonly from: number; readonly to: number }
    | { readonly kind: 'init'; readonly run: string; readonly digest: string }
  );

const PLAYLIST_TYPE = 'application/vnd.apple.mpegurl';

/** Footage that one playlist may cover: it is text in memory, about 200 bytes for each unit. */
const MAX_SPAN_MS = 7 * 24 * 3_600_000;

/** Sealed segments whose units are kept. */
const MAX_KEPT = 256;

/** A live playlist names at least so many seconds as the longest entry, so that this does not change (6.2.1). */
const LIVE_TARGET_S = 6;

export class HlsPlanner {
  readonly #archive: string;
  readonly #catalog: Catalog;
  readonly #cache: SegmentCache;
  readonly #kept = new Map<string, HlsSegment>();
  readonly #live = new Map<string, LiveList>();

  constructor(deps: { readonly archive: string; readonly catalog: Catalog; readonly cache: SegmentCache }) {
    this.#archive = deps.archive;
    this.#catalog = deps.catalog;
    this.#cache = deps.cache;
  }

  /** @throws FootageError E_RANGE_EMPTY, E_QUERY, E_NOT_FOUND, E_DAMAGED, E_IO */
  async answer(request: HlsRequest, nowUtcMs: number): Promise<AnswerParts> {
    await this.#cache.keepOpen(new Set(this.#catalog.open().map((row) => row.id)));
    switch (request.kind) {
      case 'vod':
        return this.#vod(request, request.span);
      case 'live':
        return this.#livePlaylist(request, nowUtcMs);
      case 'master':
        return this.#master(request);
      case 'media':
        return this.#media(request);
      default:
        return this.#init(request);
    }
  }

  async #vod(wanted: Wanted, span: Span): Promise<AnswerParts> {
    const entries = await this.#entriesIn(wanted, span);
    const begin = entries[0]?.unit.startUtcMs ?? span.startUtcMs;
    const startS = Math.max(0, span.startUtcMs - begin) / 1000;
    const { tracks } = wanted;
    return playlist(entries, mediaPlaylist({ entries, tracks, targetS: longestS(entries), vod: { startS } }));
  }

  async #livePlaylist(wanted: Wanted, nowUtcMs: number): Promise<AnswerParts> {
    const { camera, tracks } = wanted;
    const found = await this.#newestEntries(wanted);
    const key = `${camera}/${tracks}`;
    const list = this.#live.get(key) ?? new LiveList(LIVE_TARGET_S);
    this.#live.set(key, list);
    const { entries, targetS, ...live } = list.update(found, nowUtcMs);
    return playlist(entries, mediaPlaylist({ entries, tracks, targetS, live }));
  }

  async #master(request: HlsRequest & { readonly kind: 'master' }): Promise<AnswerParts> {
    const { span, address } = request;
    const entries = span === undefined ? await this.#newestEntries(request) : await this.#entriesIn(request, span);
    return playlist(entries, masterPlaylist(address, entries));
  }

  /** The entries that meet a span: run by run, as exports join them. */
  async #entriesIn(wanted: Wanted, span: Span): Promise<Entry[]> {
    const rows = this.#catalog.segments(wanted.camera, span.startUtcMs, span.endUtcMs);
    checkLength(rows, span);
    const runs: UnitOf[][] = [];
    for (const own of byRun(rows)) runs.push(await this.#unitsIn(own, wanted, span));
    const entries = entriesOf(joined(runs));
    if (entries.length === 0)
      throw nothingThere(wanted.camera, `between ${iso(span.startUtcMs)} and ${iso(span.endUtcMs)}`);
    return entries;
  }

  /** The units of a run that meet a span, and those before them that decoding needs. */
  async #unitsIn(rows: readonly SegmentRow[], wanted: Wanted, span: Span): Promise<UnitOf[]> {
    const units: UnitOf[] = [];
    for (const row of rows) units.push(...unitsWithRest(await this.#segment(row, wanted.tracks)));
    const meets = ({ unit }: UnitOf) => unit.endUtcMs > span.startUtcMs && unit.startUtcMs < span.endUtcMs;
    const first = units.findIndex(meets);
    const found = units.slice(first, units.findLastIndex(meets) + 1);
    if (first === -1 || found[0]?.unit.sync === true) return first === -1 ? [] : found;
    const before = units.slice(0, first);
    let [row] = rows;
    while (row !== undefined && before.every(({ unit }) => !unit.sync)) {
      row = this.#catalog.neighbour(row.run, row.sequence, -1);
      before.unshift(...unitsWithRest(await this.#segment(row, wanted.tracks)));
    }
    const sync = before.findLastIndex(({ unit }) => unit.sync);
    return sync === -1 ? found : [...before.slice(sync), ...found];
  }

  /** The entries at the end of what there is, in an order in which nothing is put between later. */
  async #newestEntries(wanted: Wanted): Promise<Entry[]> {
    const { camera, tracks } = wanted;
    const starts = this.#catalog.spans(camera, -Infinity, Infinity).map(({ startUtcMs }) => startUtcMs);
    const newest = starts.reduce((latest, start) => Math.max(latest, start), -Infinity);
    const rows = this.#catalog.segments(camera, newest - 2 * WINDOW_S * 1000, Infinity);
    const runs: UnitOf[][] = [];
    for (const own of byRun(rows)) {
      // The end of a segment that is still being sealed is not there yet, so nothing behind it is either.
      const sealing = own.findIndex(({ state }) => state === 'open');
      const units: UnitOf[] = [];
      for (const row of sealing === -1 ? own : own.slice(0, sealing + 1)) {
        units.push(...endedUnits(await this.#segment(row, tracks)));
      }
      runs.push(units);
    }
    const entries = entriesOf(joined(runs));
    if (entries.length === 0) throw nothingThere(camera, 'yet that could be played');
    return entries;
  }

  /** The units of a segment; undefined if its file is gone. */
  async #segment(row: SegmentRow | undefined, tracks: HlsTracks): Promise<HlsSegment | undefined> {
    if (row === undefined) return undefined;
    const key = `${row.id}/${row.repairGeneration}/${tracks}`;
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept;
    const view = await this.#view(row);
    if (view === undefined) return undefined;
    const segment = segmentOf(row, view, tracks);
    if (row.state === 'sealed') this.#keep(key, segment);
    return segment;
  }

  #keep(key: string, segment: HlsSegment): void {
    this.#kept.set(key, segment);
    for (const oldest of this.#kept.keys()) if (this.#kept.size > MAX_KEPT) this.#kept.delete(oldest);
  }

  async #view({ id, path, state, repairGeneration }: SegmentSpan): Promise<SegmentView | undefined> {
    return this.#cache.view({ id, path: join(this.#archive, path), state, repairGeneration });
  }

  async #media({ camera, tracks, segment, from, to }: HlsRequest & { readonly kind: 'media' }): Promise<AnswerParts> {
    const row = this.#catalog.find(camera, segment);
    const view = row && (await this.#view(row));
    if (row !== undefined && view !== undefined) {
      const { id, repairGeneration, state } = row;
      const place = { id, repairGeneration, path: join(this.#archive, row.path), ended: state === 'sealed', view };
      const file = mediaOf(place, tracks, { from, to });
      const leading = view.tracks[givenTracks(view, tracks, place.ended)[0] ?? 0];
      if (file !== undefined) return { file, segments: [id], contentType: typeOf(leading?.track.kind) };
    }
    throw notThere('part');
  }

  async #init({ camera, tracks, run, digest }: HlsRequest & { readonly kind: 'init' }): Promise<AnswerParts> {
    const next = (sequence: number) => this.#catalog.neighbour(run, sequence, 1);
    for (let row = next(-1); row !== undefined; row = next(row.sequence)) {
      const view = row.camera === camera ? await this.#view(row) : undefined;
      if (view === undefined) continue;
      const given = givenTracks(view, tracks, row.state === 'sealed');
      const init = [given, given.slice(0, 1)].map((own) => initOf(view, own)).find((one) => one.digest === digest);
      const kind = view.tracks[given[0] ?? 0]?.track.kind;
      if (init !== undefined) return { file: initFile(init), segments: [row.id], contentType: typeOf(kind) };
    }
    throw notThere('init segment');
  }
}

function segmentOf({ id, run, sequence, state }: SegmentRow, view: SegmentView, tracks: HlsTracks): HlsSegment {
  // The leading track is in all units: their number tells which tracks they are.
  const given = givenTracks(view, tracks, state === 'sealed');
  const inits = given.map((_, i) => initOf(view, given.slice(0, i + 1)));
  const initOfUnit = (unit: Unit) => {
    const init = inits[unit.tracks.length - 1];
    if (init === undefined) throw new RangeError('a unit has tracks of its segment');
    return init;
  };
  const leading = view.tracks[given[0] ?? 0];
  const timescale = leading?.track.timescale ?? 1;
  return { ...unitsOf(view, tracks, state === 'sealed'), id, run, sequence, timescale, initOf: initOfUnit };
}

function endedUnits(segment: HlsSegment | undefined): UnitOf[] {
  return segment === undefined ? [] : segment.units.map((unit) => ({ segment, unit }));
}

function unitsWithRest(segment: HlsSegment | undefined): UnitOf[] {
  const rest = segment?.rest === undefined ? [] : [{ segment, unit: segment.rest }];
  return [...endedUnits(segment), ...rest];
}

/** The units of all runs, one run after the other: by their first picture, and by UUID where these are equal. */
function joined(runs: readonly UnitOf[][]): UnitOf[] {
  const begun = runs.flatMap((units) => (units[0] === undefined ? [] : [{ ...units[0], units }]));
  const order = begun.toSorted(
    (a, b) => a.unit.startUtcMs - b.unit.startUtcMs || (a.segment.run < b.segment.run ? -1 : 1),
  );
  return order.flatMap(({ units }) => units);
}

function checkLength(rows: readonly SegmentRow[], { startUtcMs, endUtcMs }: Span): void {
  const clipped = (row: SegmentRow) =>
    Math.min(row.endUtcMs ?? endUtcMs, endUtcMs) - Math.max(row.startUtcMs, startUtcMs);
  const ms = rows.reduce((sum, row) => sum + Math.max(0, clipped(row)), 0);
  if (ms <= MAX_SPAN_MS) return;
  throw new FootageError('E_QUERY', 'A playlist covers at most 7 days of footage: ask for a shorter range.');
}

function playlist(entries: readonly Entry[], text: string): AnswerParts {
  const data = Buffer.from(text);
  const end = entries.reduce((latest, { unit }) => Math.max(latest, unit.endUtcMs), -Infinity);
  const file = new VirtualFile([{ kind: 'bytes', data }], etagOf(text), Math.ceil(end / 1000) * 1000);
  return { file, segments: [...new Set(entries.map(({ segment }) => segment.id))], contentType: PLAYLIST_TYPE };
}

/** Media types of RFC 4337. */
const typeOf = (kind: 'video' | 'audio' | undefined) => (kind === 'audio' ? 'audio/mp4' : 'video/mp4');

const iso = (utcMs: number) => new Date(utcMs).toISOString();

function nothingThere(camera: string, where: string): FootageError {
  const hint = 'its timeline (or "footage list") shows what there is';
  return new FootageError('E_RANGE_EMPTY', `Camera "${camera}" has no footage ${where}: ${hint}.`);
}

function notThere(what: string): FootageError {
  return new FootageError('E_NOT_FOUND', `There is no such ${what}, or not any more: load the playlist again.`);
}
