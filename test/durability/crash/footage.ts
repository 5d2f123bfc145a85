/** Frames that say which they are, so that what recovery finds can be told apart from what was never recorded. */
import type { Frame } from '../../../src/media.ts';
import { AUDIO_TICKS, noise, PICTURE_TICKS } from '../../support/segment.ts';
import type { Random } from '../../fuzz/random.ts';

export interface MadeFrame extends Frame {
  readonly id: number;
  readonly camera: string;
}

/** "FrMe", then the number of the frame. */
const MARK = 0x46_72_4d_65;
const MARK_BYTES = 8;
/** Composition offsets of pictures with B-frames among them, in pictures. */
const DELAYS = [1, 3, 1, 0, 2];

export interface Shape {
  readonly camera: string;
  readonly pictures: number;
  /** Pictures from one sync sample to the next. */
  readonly group: number;
  /** Audio frames behind each picture. */
  readonly sounds: number;
  /** DTS of the first picture, in pictures. */
  readonly from?: number;
}

/** All frames of a scenario, by number. */
export class Footage {
  readonly #frames: MadeFrame[] = [];
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  get(id: number): MadeFrame | undefined {
    return this.#frames[id];
  }

  /** The frame whose bytes these are. */
  named(bytes: Uint8Array): MadeFrame | undefined {
    if (bytes.byteLength < MARK_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return view.getUint32(0) === MARK ? this.#frames[view.getUint32(4)] : undefined;
  }

  /** Pictures with sound between them, in the order in which a camera sends them. */
  make({ camera, pictures, group, sounds, from = 0 }: Shape): MadeFrame[] {
    const made: MadeFrame[] = [];
    let audioDts = Math.ceil((from * PICTURE_TICKS * 48) / 90 / AUDIO_TICKS) * AUDIO_TICKS;
    for (let i = 0; i < pictures; i++) {
      const dts = (from + i) * PICTURE_TICKS;
      const compositionOffset = (DELAYS[i % DELAYS.length] ?? 0) * PICTURE_TICKS;
      const bytes = 50 + this.#random.below(550);
      made.push(this.#add({ camera, track: 0, dts, compositionOffset, sync: i % group === 0 }, bytes));
      for (let j = 0; j < sounds; j++, audioDts += AUDIO_TICKS) {
        const size = 20 + this.#random.below(40);
        const sound = { camera, track: 1, dts: audioDts, compositionOffset: 0, sync: true, durationTicks: AUDIO_TICKS };
        made.push(this.#add(sound, size));
      }
    }
    return made;
  }

  #add(frame: Omit<MadeFrame, 'id' | 'data'>, size: number): MadeFrame {
    const id = this.#frames.length;
    const data = noise(size, id);
    const view = new DataView(data.buffer);
    view.setUint32(0, MARK);
    view.setUint32(4, id);
    const made = { ...frame, id, data };
    this.#frames.push(made);
    return made;
  }
}
