/**
 * Which samples one answer can join. Segments of one codec whose parameter sets differ can (each sync sample then brings
 * its sets); another codec, another length of NAL units' lengths, or another audio format cannot: that is a change.
 */
import { FootageError } from '../errors.ts';
import type { Track } from '../media.ts';
import { audioSpecificConfigOf, isG711 } from '../mp4/codec.ts';
import { nalLengthBytes, parameterSets } from '../mp4/parameter-sets.ts';
import { writeSampleEntry } from '../mp4/sample-entry.ts';
import type { Prefixes } from './packed.ts';
import type { ChangePolicy } from './request.ts';
import type { PlanSegment } from './run.ts';
import type { Part, Selection } from './select.ts';

/** What has to be equal in one track of an answer. */
export function formatOf(track: Track): string {
  const known = FORMATS.get(track) ?? describeFormat(track);
  FORMATS.set(track, known);
  return known;
}

/** Segments share their track: it is described once. */
const FORMATS = new WeakMap<Track, string>();

function describeFormat(track: Track): string {
  if (track.kind === 'video') return `${entryOf(track)}/${nalLengthBytes(track)}`;
  return `${entryOf(track)}/${track.sampleRate}/${track.channels}/${Buffer.from(decoderConfig(track)).toString('base64')}`;
}

/** What a decoder of the track is set up with. */
function configurationOf(track: Track): string {
  return `${track.width}x${track.height}/${Buffer.from(decoderConfig(track)).toString('base64')}`;
}

/** Type of the sample entry, with which a codec string begins (RFC 6381 3.3). */
function entryOf({ codec }: Track): string {
  return codec.slice(0, 4);
}

/** What a decoder is set up with; G.711 has nothing but its sample entry. */
function decoderConfig(track: Track): Uint8Array {
  if (isG711(track.codec)) return writeSampleEntry(track);
  return entryOf(track) === 'mp4a' ? audioSpecificConfigOf(track.config) : track.config;
}

/** The track of the first segment that a selection takes samples of. */
export function trackOf({ run }: Part, { source, from, to }: Selection): Track {
  const [group] = source.groups(from, to);
  const track = run.segments[group?.segment ?? 0]?.tracks[source.index];
  if (track === undefined) throw new RangeError('a selection has a track');
  return track;
}

/** The tracks of a part by their place in an answer: the video first, then audio by rank. */
function tracksOf(part: Part): readonly (Track | undefined)[] {
  return [part.video, ...part.audios].map((selection) => selection && trackOf(part, selection));
}

/** Parts that one answer can join, and the change that ends them. */
interface PartGroup {
  readonly parts: Part[];
  readonly tracks: (Track | undefined)[];
}

interface Change {
  readonly from: Track;
  readonly to: Track;
}

/** The parts of the answer that is asked for, and how many answers the range takes. */
export interface JoinedParts {
  readonly parts: readonly Part[];
  readonly answers: number;
  /** The sound is left out, since it changes. */
  readonly withoutAudio: boolean;
}

/**
 * Chooses the parts of one answer.
 * @throws FootageError E_CHANGES; E_RANGE_EMPTY for a piece that is not there
 */
export function joinable(parts: readonly Part[], changes: ChangePolicy, piece: number): JoinedParts {
  const groups = groupsOf(parts);
  if (changes === 'split') {
    const group = groups[piece - 1];
    if (group === undefined) throw noSuchPiece(piece, groups.length);
    return { parts: group.parts, answers: groups.length, withoutAudio: false };
  }
  const change = firstChange(groups);
  if (change === undefined) return { parts, answers: 1, withoutAudio: false };
  if (changes === 'error' || change.from.kind === 'video') throw refuse(change, changes);
  return { ...joinable(parts.flatMap(withoutAudio), 'drop-audio', 1), withoutAudio: true };
}

function withoutAudio(part: Part): Part[] {
  return part.video === undefined ? [] : [{ ...part, audios: [] }];
}

function groupsOf(parts: readonly Part[]): PartGroup[] {
  const groups: PartGroup[] = [];
  for (const part of parts) {
    const tracks = tracksOf(part);
    const last = groups.at(-1);
    if (last === undefined || changeBetween(last.tracks, tracks) !== undefined) {
      groups.push({ parts: [part], tracks: [...tracks] });
      continue;
    }
    last.parts.push(part);
    tracks.forEach((track, i) => (last.tracks[i] ??= track));
  }
  return groups;
}

/** A change of audio comes last: without it nothing but the picture has to fit. */
function firstChange(groups: readonly PartGroup[]): Change | undefined {
  const all = groups.slice(1).flatMap((group, i) => changesBetween(groups[i]?.tracks ?? [], group.tracks));
  return all.find(({ from }) => from.kind === 'video') ?? all[0];
}

function changeBetween(before: readonly (Track | undefined)[], behind: readonly (Track | undefined)[]) {
  return changesBetween(before, behind)[0];
}

function changesBetween(before: readonly (Track | undefined)[], behind: readonly (Track | undefined)[]): Change[] {
  return behind.flatMap((to, i) => {
    const from = before[i];
    return from === undefined || to === undefined || formatOf(from) === formatOf(to) ? [] : [{ from, to }];
  });
}

function refuse({ from, to }: Change, changes: ChangePolicy): FootageError {
  const leave = from.kind === 'audio' && changes === 'error' ? ', for no audio (changes=drop-audio)' : '';
  return new FootageError(
    'E_CHANGES',
    `The ${from.kind} changes within the range (${describe(from)} to ${describe(to)}): ask for one file on each side (changes=split)${leave}, or for a shorter range.`,
  );
}

function noSuchPiece(piece: number, answers: number): FootageError {
  return new FootageError(
    'E_RANGE_EMPTY',
    `The range has ${answers} ${answers === 1 ? 'part' : 'parts'}, so no part ${piece}: ask for one that is there.`,
  );
}

function describe(track: Track): string {
  const size = track.kind === 'video' ? `${track.width}x${track.height}` : `${track.sampleRate} Hz`;
  return `${track.codec} ${size}`;
}

/** Parameter sets per segment if the video of an answer has several configurations; else undefined. */
export function prefixesOf(parts: readonly Part[]): Prefixes | undefined {
  const sets = new Map<PlanSegment, Track>();
  for (const { run, video } of parts) {
    if (video === undefined) continue;
    for (const { segment } of video.source.groups(video.from, video.to)) {
      const found = run.segments[segment];
      const track = found?.tracks[video.source.index];
      if (found !== undefined && track !== undefined) sets.set(found, track);
    }
  }
  if (new Set([...new Set(sets.values())].map(configurationOf)).size < 2) return undefined;
  const prefixes = new Map([...sets].map(([segment, track]) => [segment, parameterSets(track)]));
  return { of: (segment) => prefixes.get(segment) };
}

/** Whether segments of a run can lie in one run for a plan. */
export function sameFormats(a: readonly (Track | undefined)[], b: readonly (Track | undefined)[]): boolean {
  return a.every((track, i) => {
    const other = b[i];
    return track === undefined || other === undefined || formatOf(track) === formatOf(other);
  });
}
