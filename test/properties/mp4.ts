/**
 * A reader of MP4 sample tables (ISO/IEC 14496-12) for the property tests. It imports nothing of the product, so that a
 * mistake is not made twice, and it holds every file against the standard's own rules while it reads.
 */

export interface ReadSample {
  readonly data: Buffer;
  /** Media time, ticks: 0 for the first sample. */
  readonly dts: number;
  readonly delta: number;
  readonly compositionOffset: number;
  readonly sync: boolean;
}

export interface ReadEdit {
  /** Ticks of the movie. */
  readonly duration: number;
  /** Ticks of the track; −1 for an empty edit. */
  readonly mediaTime: number;
}

export interface ReadTrack {
  readonly kind: 'video' | 'audio';
  readonly timescale: number;
  readonly edits: readonly ReadEdit[];
  readonly samples: readonly ReadSample[];
}

export interface ReadMovie {
  readonly timescale: number;
  readonly tracks: readonly ReadTrack[];
}

interface Box {
  readonly type: string;
  readonly body: Buffer;
}

function boxesOf(bytes: Buffer): Box[] {
  const boxes: Box[] = [];
  for (let at = 0; at < bytes.length;) {
    const short = bytes.readUInt32BE(at);
    const header = short === 1 ? 16 : 8;
    const size = short === 0 ? bytes.length - at : short === 1 ? Number(bytes.readBigUInt64BE(at + 8)) : short;
    if (size < header || at + size > bytes.length) throw new Error(`a box at ${at} has ${size} bytes`);
    boxes.push({ type: bytes.toString('latin1', at + 4, at + 8), body: bytes.subarray(at + header, at + size) });
    at += size;
  }
  return boxes;
}

/** Body of the one box at the path; an error if there is none or more than one. */
function boxAt(bytes: Buffer, ...path: readonly string[]): Buffer {
  const found = optionalBox(bytes, ...path);
  if (found === undefined) throw new Error(`there is no ${path.join('/')}`);
  return found;
}

function optionalBox(bytes: Buffer, ...path: readonly string[]): Buffer | undefined {
  const [type, ...rest] = path;
  if (type === undefined) return bytes;
  const found = boxesOf(bytes).filter((box) => box.type === type);
  if (found.length > 1) throw new Error(`there are ${found.length} ${type}`);
  const [only] = found;
  return only && optionalBox(only.body, ...rest);
}

/** Rows of 32-bit words of a table with an entry count, which must fill its box. */
function rowsOf(body: Buffer, words: number, countAt = 4): number[][] {
  const count = body.readUInt32BE(countAt);
  const first = countAt + 4;
  if (first + count * words * 4 !== body.length)
    throw new Error(`a table of ${count} entries has ${body.length} bytes`);
  return Array.from({ length: count }, (_, row) =>
    Array.from({ length: words }, (_, word) => body.readUInt32BE(first + (row * words + word) * 4)),
  );
}

/** The values of a run-length table. */
function expanded(rows: readonly number[][]): number[] {
  return rows.flatMap(([count = 0, value = 0]) => Array.from({ length: count }, () => value));
}

/** Timescale of `mvhd` or `mdhd`, of either version. */
function timescaleOf(header: Buffer): number {
  return header.readUInt32BE(header[0] === 1 ? 20 : 12);
}

function editsOf(trak: Buffer): ReadEdit[] {
  const elst = optionalBox(trak, 'edts', 'elst');
  if (elst === undefined) return [];
  if (elst[0] !== 1) throw new Error('the edit list is not of version 1');
  return Array.from({ length: elst.readUInt32BE(4) }, (_, i) => {
    const at = 8 + 20 * i;
    if (elst.readUInt32BE(at + 16) !== 0x1_0000) throw new Error('an edit does not play at rate 1');
    return { duration: Number(elst.readBigUInt64BE(at)), mediaTime: Number(elst.readBigInt64BE(at + 8)) };
  });
}

function compositionOffsets(table: Buffer | undefined, count: number): number[] {
  if (table === undefined) return Array.from({ length: count }, () => 0);
  const values = expanded(rowsOf(table, 2));
  return table[0] === 1 ? values.map((value) => value | 0) : values;
}

/** Positions of the samples: chunk by chunk, one behind the other. */
function positionsOf(stbl: Buffer, sizes: readonly number[]): number[] {
  const runs = rowsOf(boxAt(stbl, 'stsc'), 3);
  const chunks = rowsOf(boxAt(stbl, 'co64'), 2).map(([high = 0, low = 0]) => high * 2 ** 32 + low);
  const positions: number[] = [];
  let run = -1;
  chunks.forEach((offset, chunk) => {
    if (runs[run + 1]?.[0] === chunk + 1) run++;
    let at = offset;
    for (let i = runs[run]?.[1] ?? 0; i > 0; i--) {
      positions.push(at);
      at += sizes[positions.length - 1] ?? 0;
    }
  });
  return positions;
}

function samplesOf(file: Buffer, stbl: Buffer): ReadSample[] {
  const sizes = rowsOf(boxAt(stbl, 'stsz'), 1, 8).map(([size = 0]) => size);
  const deltas = expanded(rowsOf(boxAt(stbl, 'stts'), 2));
  const offsets = compositionOffsets(optionalBox(stbl, 'ctts'), sizes.length);
  const positions = positionsOf(stbl, sizes);
  for (const column of [deltas, offsets, positions]) {
    if (column.length !== sizes.length) throw new Error(`a table has ${column.length} of ${sizes.length} samples`);
  }
  const stss = optionalBox(stbl, 'stss');
  const syncs = stss && new Set(rowsOf(stss, 1).map(([number = 0]) => number));
  let dts = 0;
  return sizes.map((size, i) => {
    const position = positions[i] ?? 0;
    if (position + size > file.length) throw new Error(`sample ${i} lies behind the end of the file`);
    const delta = deltas[i] ?? 0;
    const data = file.subarray(position, position + size);
    const sample = { data, dts, delta, compositionOffset: offsets[i] ?? 0, sync: syncs?.has(i + 1) ?? true };
    dts += delta;
    return sample;
  });
}

function trackOf(file: Buffer, trak: Buffer): ReadTrack {
  const mdia = boxAt(trak, 'mdia');
  const kind = boxAt(mdia, 'hdlr').toString('latin1', 8, 12) === 'vide' ? 'video' : 'audio';
  const samples = samplesOf(file, boxAt(mdia, 'minf', 'stbl'));
  return { kind, timescale: timescaleOf(boxAt(mdia, 'mdhd')), edits: editsOf(trak), samples };
}

/** Reads a whole progressive file. */
export function readMovie(file: Buffer): ReadMovie {
  const moov = boxAt(file, 'moov');
  const tracks = boxesOf(moov).filter(({ type }) => type === 'trak');
  return { timescale: timescaleOf(boxAt(moov, 'mvhd')), tracks: tracks.map(({ body }) => trackOf(file, body)) };
}
