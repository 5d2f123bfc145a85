/**
 * A sealed segment again, as another one of the same run that many hours later: other UUID, place in the run and times,
 * the same samples. Whatever depends on them (delimiters and their checksums, `moov`, trailer) is made anew, so that the
 * copy is what the recorder would have written, byte by byte; `checkCopy` holds the two against each other.
 */
import { built } from './support.mjs';

const { viewOf } = await built('format/bytes.js');
const { DELIMITER_BYTES, RecordType, readDelimiter, writeDelimiter } = await built('format/delimiter.js');
const { decodeEnd, encodeEnd, encodeHead, readHead, seedOf } = await built('format/records.js');
const { TRAILER_BYTES, decodeTrailer, encodeTrailer } = await built('format/trailer.js');
const { DATA_START } = await built('segment/layout.js');
const { native } = await built('native.js');
const { crc32c } = native;

/** Containers on the way to the boxes of `moov` that say when it was made. */
const CONTAINERS = new Set(['moov', 'trak', 'mdia']);
const WITH_CREATION_TIME = new Set(['mvhd', 'tkhd', 'mdhd']);
/** Creation and modification time in a box of version 1, 8 bytes each. */
const CREATION_TIMES_AT = [12, 20];

/** What a sealed segment says of itself. */
export function trailerOf(bytes) {
  const trailer = decodeTrailer(bytes.subarray(bytes.byteLength - TRAILER_BYTES), crc32c);
  if (trailer === undefined) throw new Error('the segment to copy is not sealed');
  return trailer;
}

/** The copy as new bytes; `ids` is what changes of the head: `segment`, `sequence`, and others where wanted. */
export function copySegment(bytes, ids, laterS) {
  const copy = Buffer.from(bytes);
  const trailer = trailerOf(bytes);
  const head = { ...trailer.head, ...ids };
  const moov = moveMoov(copy, trailer.moov, laterS);
  moveRecords(copy, head, trailer.moov.offset, laterS);
  const moved = { ...trailer, head, moov, ...moveTimes(trailer, laterS) };
  copy.set(encodeTrailer(moved, crc32c), copy.byteLength - TRAILER_BYTES);
  return copy;
}

function moveRecords(bytes, head, end, laterS) {
  const seed = seedOf(head.segment, crc32c);
  const view = viewOf(bytes);
  const later = head.tracks.map(({ timescale }) => laterS * timescale);
  const { lengthBytes } = readHead(bytes.subarray(DATA_START, end), crc32c);
  bytes.set(encodeHead(head, crc32c), DATA_START);
  for (let at = DATA_START + lengthBytes; at < end;) {
    const fields = readDelimiter(view, at);
    const timed = fields.type === RecordType.frame || fields.type === RecordType.group;
    if (fields.type === RecordType.anchor) throw new Error('segments with anchors are not copied');
    if (fields.type === RecordType.end) moveEnd(bytes, at, fields, later, seed);
    else writeDelimiter(bytes, at, timed ? { ...fields, dts: fields.dts + later[fields.track] } : fields, seed, crc32c);
    at += DELIMITER_BYTES + fields.length;
  }
}

function moveEnd(bytes, at, fields, later, seed) {
  const payloadAt = at + DELIMITER_BYTES;
  const ends = decodeEnd(bytes.subarray(payloadAt, payloadAt + fields.length));
  const moved = ends.map((end, track) => ({ ...end, endDts: end.endDts + later[track] }));
  bytes.set(encodeEnd(moved, seed, crc32c), at);
}

/** Media times in `moov` begin at 0; only its dates change. */
function moveMoov(bytes, { offset, length }, laterS) {
  const moov = bytes.subarray(offset, offset + length);
  moveDates(moov, 0, length, laterS);
  return { offset, length, crc: crc32c(moov) };
}

function moveDates(moov, from, to, laterS) {
  for (let at = from; at < to;) {
    const size = moov.readUInt32BE(at);
    const type = moov.toString('latin1', at + 4, at + 8);
    if (CONTAINERS.has(type)) moveDates(moov, at + 8, at + size, laterS);
    if (WITH_CREATION_TIME.has(type)) {
      for (const field of CREATION_TIMES_AT) {
        moov.writeBigUInt64BE(moov.readBigUInt64BE(at + field) + BigInt(laterS), at + field);
      }
    }
    at += size;
  }
}

function moveTimes({ startUtcMs, endUtcMs, head, tracks }, laterS) {
  return {
    startUtcMs: startUtcMs + laterS * 1000,
    endUtcMs: endUtcMs + laterS * 1000,
    tracks: tracks.map((track, i) => {
      const later = laterS * head.tracks[i].timescale;
      const { firstDts, endDts, firstPts, endPts } = track;
      const moved = { firstDts: firstDts + later, endDts: endDts + later };
      return { ...track, ...moved, firstPts: firstPts + later, endPts: endPts + later };
    }),
  };
}

/** Throws unless the copy of one recorded segment is the other one, which was recorded `laterS` behind it. */
export function checkCopy(bytes, recorded, laterS) {
  const { segment, sequence } = trailerOf(recorded).head;
  const copy = copySegment(bytes, { segment, sequence }, laterS);
  if (copy.equals(recorded)) return;
  const at = copy.findIndex((byte, i) => byte !== recorded[i]);
  throw new Error(`the copy of a segment is not what the recorder writes: they differ from byte ${at} on`);
}
