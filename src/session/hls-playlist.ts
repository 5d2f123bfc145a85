/**
 * Playlists of HLS (RFC 8216) as text. Addresses in them are relative to the playlist's.
 */
import type { Init } from './hls-media.ts';
import type { HlsTracks, SegmentUnits, Unit } from './hls-units.ts';

/** A segment that a playlist may name units of. */
export interface HlsSegment extends SegmentUnits {
  /** UUID. */
  readonly id: string;
  readonly run: string;
  readonly sequence: number;
  /** Ticks per second of the units' times. */
  readonly timescale: number;
  /** The init segment of a unit. */
  readonly initOf: (unit: Unit) => Init;
}

/** A unit in its place in a playlist. */
export interface Entry {
  readonly segment: HlsSegment;
  readonly unit: Unit;
  readonly init: Init;
  readonly durationS: number;
  /** Neither its times nor its decoder go on from the entry before. */
  readonly discontinuity: boolean;
}

export interface UnitOf {
  readonly segment: HlsSegment;
  readonly unit: Unit;
}

/**
 * The entries of units that follow each other. Those that cannot be decoded are left out: they begin inside a GOP whose
 * beginning is not there.
 */
export function entriesOf(units: readonly UnitOf[]): Entry[] {
  const entries: GrowingEntry[] = [];
  let before: GrowingEntry | undefined;
  for (const { segment, unit } of units) {
    const init = segment.initOf(unit);
    const discontinuity = before === undefined || !follows(before, segment, unit, init);
    if (discontinuity && !unit.sync) continue;
    // Then it lasts until this begins.
    if (before !== undefined && !discontinuity) before.durationS = (unit.pts - before.unit.pts) / segment.timescale;
    before = { segment, unit, init, discontinuity, durationS: (unit.endPts - unit.pts) / segment.timescale };
    entries.push(before);
  }
  return entries;
}

/** How long it lasts may depend on the entry behind it. */
type GrowingEntry = Omit<Entry, 'durationS'> & { durationS: number };

function follows(before: Entry, segment: HlsSegment, unit: Unit, init: Init): boolean {
  if (segment.run !== before.segment.run || init.digest !== before.init.digest) return false;
  if (segment === before.segment) return unit.joined && unit.from === before.unit.to;
  const next = segment.sequence === before.segment.sequence + 1 && unit.from === 0;
  return next && segment.dts === before.segment.endDts && before.unit === before.segment.units.at(-1);
}

/** What a media playlist says besides its entries. */
export interface PlaylistSpec {
  readonly entries: readonly Entry[];
  readonly tracks: HlsTracks;
  /** Seconds, whole; no entry is longer when rounded. */
  readonly targetS: number;
  /** A playlist that is complete; its playback begins so many seconds behind its begin. */
  readonly vod?: { readonly startS: number };
  /** A playlist that goes on; numbers of its first entry. */
  readonly live?: { readonly sequence: number; readonly discontinuities: number };
}

/** Seconds, whole: no entry is longer when rounded (RFC 8216 4.3.3.1). */
export function longestS(entries: readonly Entry[]): number {
  return entries.reduce((longest, { durationS }) => Math.max(longest, Math.round(durationS)), 1);
}

export function mediaPlaylist({ entries, tracks, targetS, vod, live }: PlaylistSpec): string {
  const lines = ['#EXTM3U', '#EXT-X-VERSION:7', `#EXT-X-TARGETDURATION:${targetS}`];
  if (live !== undefined) {
    lines.push(`#EXT-X-MEDIA-SEQUENCE:${live.sequence}`, `#EXT-X-DISCONTINUITY-SEQUENCE:${live.discontinuities}`);
  }
  if (vod !== undefined) lines.push('#EXT-X-PLAYLIST-TYPE:VOD');
  if (entries.every(({ unit }) => unit.independent)) lines.push('#EXT-X-INDEPENDENT-SEGMENTS');
  if (vod !== undefined && vod.startS > 0) {
    lines.push(`#EXT-X-START:TIME-OFFSET=${decimal(vod.startS)},PRECISE=YES`);
  }
  lines.push(...entryLines(entries, tracks, vod !== undefined));
  if (vod !== undefined) lines.push('#EXT-X-ENDLIST');
  return `${lines.join('\n')}\n`;
}

/**
 * The address of an init segment names its run, so that it stays while a live playlist moves on. In a playlist that is
 * complete, equal ones of several runs have one address.
 */
function entryLines(entries: readonly Entry[], tracks: HlsTracks, shared: boolean): string[] {
  const query = tracks === 'all' ? '' : `?tracks=${tracks}`;
  const runs = new Map<string, string>();
  const lines: string[] = [];
  let map = '';
  entries.forEach(({ segment, unit, init, durationS, discontinuity }, i) => {
    const known = shared ? runs.get(init.digest) : undefined;
    if (known === undefined) runs.set(init.digest, segment.run);
    const address = `${known ?? segment.run}/init-${init.digest}.mp4${query}`;
    if (discontinuity && i > 0) lines.push('#EXT-X-DISCONTINUITY');
    if (address !== map) lines.push(`#EXT-X-MAP:URI="${address}"`);
    map = address;
    lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(Math.round(unit.startUtcMs)).toISOString()}`);
    lines.push(`#EXTINF:${decimal(durationS)},`, `${segment.id}/${unit.from}-${unit.to}.m4s${query}`);
  });
  return lines;
}

/** To the microsecond, without needless zeros. */
function decimal(seconds: number): string {
  return String(Math.round(seconds * 1e6) / 1e6);
}

/** A playlist that names one media playlist, and says what is in it. */
export function masterPlaylist(address: string, entries: readonly Entry[]): string {
  const bitRates = entries.map(({ unit, durationS }) => (8 * (unit.stretch.to - unit.stretch.from)) / durationS);
  const inits = [...new Map(entries.map(({ init }) => [init.digest, init])).values()];
  const codecs = [...new Set(inits.flatMap((init) => init.codecs))].join(',');
  const largest = inits.toSorted((a, b) => b.width * b.height - a.width * a.height)[0];
  const size = largest === undefined || largest.width === 0 ? '' : `,RESOLUTION=${largest.width}x${largest.height}`;
  const bandwidth = Math.ceil(bitRates.reduce((peak, rate) => Math.max(peak, rate), 1));
  const independent = entries.every(({ unit }) => unit.independent) ? ['#EXT-X-INDEPENDENT-SEGMENTS'] : [];
  const stream = `#EXT-X-STREAM-INF:BANDWIDTH=${bandwidth},CODECS="${codecs}"${size}`;
  return `${['#EXTM3U', '#EXT-X-VERSION:7', ...independent, stream, address].join('\n')}\n`;
}
