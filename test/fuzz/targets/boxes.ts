/**
 * Mutations of MP4 boxes as a tree: boxes are doubled, left out, moved and renamed, and all sizes fit again. Bytes that are
 * no boxes stay as they are. Knows nothing of the product.
 */
import type { Random } from '../random.ts';

interface Node {
  type: string;
  body: Buffer;
  /** Instead of a body. */
  children: Node[] | undefined;
}

const CONTAINERS = new Set([
  ...['moov', 'trak', 'mdia', 'minf', 'dinf', 'stbl', 'edts', 'mvex', 'moof', 'traf', 'wave'],
]);

/** Boxes and the words that begin them. */
export const BOX_TYPES = [
  ...[
    'ftyp',
    'moov',
    'mvhd',
    'trak',
    'tkhd',
    'edts',
    'elst',
    'mdia',
    'mdhd',
    'hdlr',
    'minf',
    'vmhd',
    'smhd',
    'dinf',
    'dref',
  ],
  ...[
    'stbl',
    'stsd',
    'stts',
    'ctts',
    'stss',
    'stsz',
    'stz2',
    'stsc',
    'stco',
    'co64',
    'mvex',
    'trex',
    'moof',
    'mfhd',
    'traf',
  ],
  ...[
    'tfhd',
    'tfdt',
    'trun',
    'mdat',
    'free',
    'uuid',
    'avc1',
    'avcC',
    'hvc1',
    'hvcC',
    'av01',
    'av1C',
    'mp4a',
    'esds',
    'Opus',
  ],
  ...['dOps', 'alaw', 'ulaw', 'wave', 'chan', 'vide', 'soun', 'cmov', 'sgpd', 'sbgp', 'sidx', 'styp', 'mfra'],
] as const;

/** The boxes in the bytes; undefined if they are no boxes from the beginning to the end. */
function parse(bytes: Buffer): Node[] | undefined {
  const nodes: Node[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = at + 8 <= bytes.length ? bytes.readUInt32BE(at) : 0;
    if (size < 8 || at + size > bytes.length) return undefined;
    const type = bytes.toString('latin1', at + 4, at + 8);
    const body = bytes.subarray(at + 8, at + size);
    nodes.push({ type, body, children: CONTAINERS.has(type) ? parse(body) : undefined });
    at += size;
  }
  return nodes;
}

function write(nodes: readonly Node[]): Buffer {
  return Buffer.concat(
    nodes.flatMap(({ type, body, children }) => {
      const inner = children === undefined ? body : write(children);
      const header = Buffer.alloc(8);
      header.writeUInt32BE(inner.length + 8);
      header.write(type, 4, 'latin1');
      return [header, inner];
    }),
  );
}

/** All lists of boxes in the tree that are not empty. */
function lists(nodes: Node[]): Node[][] {
  const inner = nodes.flatMap(({ children }) => (children === undefined ? [] : lists(children)));
  return nodes.length === 0 ? inner : [nodes, ...inner];
}

function change(list: Node[], all: readonly Node[][], random: Random): void {
  const at = random.below(list.length);
  const one = list[at];
  if (one === undefined) return;
  switch (random.below(5)) {
    case 0:
      list.splice(at, 1);
      break;
    case 1:
      for (let times = random.oneIn(8) ? 60 : 1; times > 0; times--) list.push(one);
      break;
    case 2:
      random
        .pick(all)
        .splice(0, 0, { ...one, children: undefined, body: one.children ? write(one.children) : one.body });
      break;
    case 3:
      one.type = random.pick(BOX_TYPES);
      break;
    default:
      one.children = undefined;
      one.body = one.body.subarray(0, random.below(one.body.length + 1));
  }
}

/** In one of three inputs that are boxes, one to three boxes are changed. */
export function mutateBoxes(bytes: Buffer, random: Random): Buffer {
  const nodes = random.oneIn(3) ? parse(bytes) : undefined;
  if (nodes === undefined || nodes.length === 0) return bytes;
  for (let times = 1 + random.below(3); times > 0; times--) {
    const all = lists(nodes);
    if (all.length > 0) change(random.pick(all), all, random);
  }
  return write(nodes);
}
