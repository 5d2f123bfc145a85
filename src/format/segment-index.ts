/**
 * The segment-index box: a `uuid` box inside the sealed `moov` with what MP4 tables cannot say (docs/format.md,
 * "Segment index"): the anchors appended after the head, and the breaks of tracks (a sample whose own length ends
 * before the next one begins, as at a pause of the audio).
 */
import { type Crc32c, getInt64, setInt64, viewOf } from './bytes.ts';
import type { Anchor } from './records.ts';

/** User type of the `uuid` box. */
export const SEGMENT_INDEX_USER_TYPE = Uint8Array.from([
  0x7f, 0x1c, 0x3a, 0x52, 0x0b, 0x5d, 0x4e, 0x0c, 0x9a, 0x6f, 0x49, 0x6e, 0x64, 0x65, 0x78, 0x31,
]);
const ANCHOR_BYTES = 24;
const BREAK_BYTES = 16;

/** After sample `sample` of `track` its successor does not begin where it ends. */
export interface Break {
  readonly track: number;
  readonly sample: number;
  /** The sample's own length in ticks. */
  readonly durationTicks: number;
}

export interface SegmentIndex {
  readonly anchors: readonly Anchor[];
  readonly breaks: readonly Break[];
}

/** Body of the box behind its user type: two counts, the anchors, the breaks. */
export function encodeSegmentIndex(index: SegmentIndex): Uint8Array {
  const bytes = new Uint8Array(8 + ANCHOR_BYTES * index.anchors.length + BREAK_BYTES * index.breaks.length);
  const view = viewOf(bytes);
  view.setUint32(0, index.anchors.length);
  view.setUint32(4, index.breaks.length);
  let at = 8;
  for (const anchor of index.anchors) {
    view.setUint8(at, anchor.track);
    view.setUint8(at + 1, anchor.discontinuity ? 1 : 0);
    setInt64(view, at + 8, anchor.dts);
    setInt64(view, at + 16, Math.round(anchor.utcMs * 1000));
    at += ANCHOR_BYTES;
  }
  for (const item of index.breaks) {
    view.setUint32(at, item.track);
    view.setUint32(at + 4, item.sample);
    setInt64(view, at + 8, item.durationTicks);
    at += BREAK_BYTES;
  }
  return bytes;
}

/** The index in `bytes`, or undefined when counts and length disagree or the CRC does not hold. */
export function decodeSegmentIndex(bytes: Uint8Array, crc: number, crc32c: Crc32c): SegmentIndex | undefined {
  if (bytes.byteLength < 8 || crc32c(bytes) !== crc) return undefined;
  const view = viewOf(bytes);
  const anchorCount = view.getUint32(0);
  const breakCount = view.getUint32(4);
  if (bytes.byteLength !== 8 + ANCHOR_BYTES * anchorCount + BREAK_BYTES * breakCount) return undefined;
  const breaksAt = 8 + ANCHOR_BYTES * anchorCount;
  return {
    anchors: Array.from({ length: anchorCount }, (_, i) => {
      const at = 8 + ANCHOR_BYTES * i;
      return {
        track: view.getUint8(at),
        dts: getInt64(view, at + 8),
        utcMs: getInt64(view, at + 16) / 1000,
        discontinuity: view.getUint8(at + 1) === 1,
      };
    }),
    breaks: Array.from({ length: breakCount }, (_, i) => {
      const at = breaksAt + BREAK_BYTES * i;
      return { track: view.getUint32(at), sample: view.getUint32(at + 4), durationTicks: getInt64(view, at + 8) };
    }),
  };
}
