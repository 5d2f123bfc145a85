/**
 * Silent frames: what is inserted where an answer's audio has to wait for its video. One kind per codec:
 *
 * - AAC-LC (ISO/IEC 14496-3 4.4.2.1): a raw_data_block of empty channel elements, written bit by bit. It is as long as
 *   every frame of its track.
 * - Opus (RFC 6716): a packet of CELT frames whose silence flag is set. (A packet of no bytes would not be silence: for
 *   it decoders make up what was lost.)
 * - G.711: the code of the value 0, once per PCM sample and channel.
 */
import type { Track } from '../media.ts';
import { isG711, parseDops } from '../mp4/codec.ts';

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

/** TOC of CELT-only, full band, mono (RFC 6716 3.1): frames of 2.5, 5, 10 and 20 ms; the flag makes it stereo. */
const CELT_TOCS: ReadonlyMap<number, number> = new Map([
  [2.5, 0xe0],
  [5, 0xe8],
  [10, 0xf0],
  [20, 0xf8],
]);
const TOC_STEREO = 0x04;
/** Frame count code 3: a byte behind the TOC says how many frames, of one size, the packet has (3.2.5). */
const TOC_COUNTED = 0x03;
/** A range coder that begins so decodes the silence flag as set (4.3.1). */
const CELT_SILENCE = [0xff, 0xfe];
const LONGEST_FRAME_MS = 20;
/** Of a packet (3.2.5, R5). */
const LONGEST_PACKET_MS = 120;

/** A packet that decodes to `ms` of silence in every channel; undefined if no packet has this length. */
function silentOpus(dOps: Uint8Array, ms: number): Uint8Array | undefined {
  const frameMs = Math.min(ms, LONGEST_FRAME_MS);
  const frames = ms / frameMs;
  const toc = CELT_TOCS.get(frameMs);
  if (toc === undefined || !Number.isInteger(frames) || ms > LONGEST_PACKET_MS) return undefined;
  const { streams, coupledStreams } = parseDops(dOps);
  const packets = Array.from({ length: streams }, (_, stream) => {
    const stereo = stream < coupledStreams ? TOC_STEREO : 0;
    // All streams but the last say how long their frames are (appendix B, self-delimiting framing).
    const size = stream < streams - 1 ? [CELT_SILENCE.length] : [];
    const head = frames === 1 ? [toc | stereo] : [toc | stereo | TOC_COUNTED, frames];
    return [...head, ...size, ...Array.from({ length: frames }, () => CELT_SILENCE).flat()];
  });
  return Uint8Array.from(packets.flat());
}

/** The code of 0 in A-law, and of +0 in µ-law (ITU-T G.711 tables 1a, 2a, with the bits inverted as transmitted). */
const G711_SILENCE: Readonly<Record<string, number>> = { alaw: 0xd5, ulaw: 0xff };

function silentG711({ codec, timescale, sampleRate = 0, channels = 0 }: Track, ticks: number): Uint8Array | undefined {
  const samples = Math.round((ticks * sampleRate) / timescale);
  return samples === 0 ? undefined : new Uint8Array(samples * channels).fill(G711_SILENCE[codec] ?? 0);
}

/**
 * A frame of silence for the track, or undefined if none is known for its codec. `frameTicks`, in ticks of the track's
 * timescale, is how long it lasts; AAC frames are all of one length, which it must be.
 */
export function silentFrame(track: Track, frameTicks: number): Uint8Array | undefined {
  if (isG711(track.codec)) return silentG711(track, frameTicks);
  if (track.codec === 'opus') return silentOpus(track.config, (frameTicks * 1000) / track.timescale);
  return track.codec.startsWith('mp4a.40.') ? silentAac(track.channels ?? 0) : undefined;
}
