/**
 * Silent frames: what is inserted where an answer's audio has to wait for its video. One row per codec.
 *
 * AAC-LC (ISO/IEC 14496-3 4.4.2.1): a raw_data_block of empty channel elements, written bit by bit.
 */
import type { Track } from '../media.ts';

/** Channel elements per channel configuration (ISO/IEC 14496-3 table 1.19): S = single, P = pair, L = LFE. */
const AAC_ELEMENTS: readonly string[] = ['', 'S', 'P', 'SP', 'SPS', 'SPP', 'SPPL', '', 'SPPPL'];
const ELEMENT_ID: Readonly<Record<string, number>> = { S: 0, P: 1, L: 3 };
const ID_END = 7;

class Bits {
  readonly #bits: number[] = [];

  put(value: number, width: number): void {
    for (let bit = width - 1; bit >= 0; bit--) this.#bits.push((value >>> bit) & 1);
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(Math.ceil(this.#bits.length / 8));
    this.#bits.forEach((bit, i) => (bytes[i >>> 3] = (bytes[i >>> 3] ?? 0) | (bit << (7 - (i & 7)))));
    return bytes;
  }
}

/** ics_info() of a long window without any scale factor band, 11 bits. */
function putIcsInfo(bits: Bits): void {
  bits.put(0, 1 + 2 + 1 + 6 + 1);
}

/** One individual_channel_stream(): gain 0, no sections, no pulse, no TNS, no gain control. */
function putChannel(bits: Bits, ownIcsInfo: boolean): void {
  bits.put(0, 8);
  if (ownIcsInfo) putIcsInfo(bits);
  bits.put(0, 3);
}

function silentAac(channels: number): Uint8Array | undefined {
  const elements = AAC_ELEMENTS[channels === 8 ? 8 : channels];
  if (elements === undefined || elements === '') return undefined;
  const bits = new Bits();
  const instances = new Map<string, number>();
  for (const element of elements) {
    const instance = instances.get(element) ?? 0;
    instances.set(element, instance + 1);
    bits.put(ELEMENT_ID[element] ?? 0, 3);
    bits.put(instance, 4);
    if (element !== 'P') {
      putChannel(bits, true);
      continue;
    }
    bits.put(1, 1); // common_window
    putIcsInfo(bits);
    bits.put(0, 2); // ms_mask_present
    putChannel(bits, false);
    putChannel(bits, false);
  }
  bits.put(ID_END, 3);
  return bits.bytes();
}

/** A frame of silence for the track, or undefined if none is known for its codec. */
export function silentFrame(track: Track): Uint8Array | undefined {
  return track.codec.startsWith('mp4a.40.') ? silentAac(track.channels ?? 0) : undefined;
}
