/** The pre-event buffer: by examples, and against a model that keeps one flat list and looks through all of it each time. */
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Frame, Track } from '../../src/media.ts';
import { PreEventBuffer, type PreEventOptions } from '../../src/recorder/pre-event.ts';
import { AUDIO, AUDIO_TICKS, PICTURE_TICKS, VIDEO } from '../support/segment.ts';

const GOP = 10;
const BYTES = 100;

const picture = (i: number, more: Partial<Frame> = {}): Frame => ({
  ...{ track: 0, data: new Uint8Array(BYTES).fill(i), dts: i * PICTURE_TICKS, compositionOffset: 0 },
  sync: i % GOP === 0,
  ...more,
});

const sound = (i: number): Frame => ({
  ...{ track: 1, data: new Uint8Array(BYTES).fill(i), dts: i * AUDIO_TICKS, compositionOffset: 0, sync: true },
});

const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

function filled(frames: readonly Frame[], options: Partial<PreEventOptions> = {}, tracks: readonly Track[] = [VIDEO]) {
  const buffer = new PreEventBuffer(tracks, { preEventMs: 1000, maxBytes: 1e6, ...options });
  for (const frame of frames) buffer.push(frame);
  return buffer;
}

const pictures = (from: number, to: number) => range(from, to).map((i) => picture(i));

describe('what is held', () => {
  test('begins at the last sync sample that is old enough, and no earlier', () => {
    // The newest is picture 64 at 2560 ms: picture 40 at 1600 ms is too young, picture 30 at 1200 ms is the last.
    const buffer = filled(pictures(0, 65));
    expect([buffer.heldMs, buffer.bytes]).toEqual([1360, 35 * BYTES]);
    expect(buffer.drain()).toEqual(pictures(30, 65));
    expect([buffer.heldMs, buffer.bytes, buffer.drain()]).toEqual([0, 0, []]);
  });

  test('is all there is while that is not enough, from the first sync sample on', () => {
    const mixed = [sound(0), ...pictures(3, 12), sound(20), ...pictures(12, 15)];
    const buffer = filled(mixed, {}, [VIDEO, AUDIO]);
    expect(buffer.drain()).toEqual([picture(10), picture(11), sound(20), ...pictures(12, 15)]);
  });

  test('after it was drained or cleared begins at the next sync sample', () => {
    for (const empty of ['drain', 'clear'] as const) {
      const buffer = filled(pictures(0, 15));
      buffer[empty]();
      for (const frame of pictures(15, 23)) buffer.push(frame);
      expect(buffer.drain()).toEqual(pictures(20, 23));
    }
  });

  test('is nothing where nothing is asked for', () => {
    const buffer = filled(pictures(0, 65), { preEventMs: 0 });
    expect([buffer.bytes, buffer.heldMs, buffer.drain()]).toEqual([0, 0, []]);
  });

  test('is sound alone where there is no video: each frame can be the first', () => {
    const frames = range(0, 100).map((i) => ({ ...sound(i), track: 0 }));
    const buffer = filled(frames, { preEventMs: 200 }, [AUDIO]);
    // 200 ms are 9.4 frames of 1024 ticks.
    expect(buffer.drain()).toEqual(frames.slice(-11));
  });
});

describe('the bound', () => {
  test('drops whole groups of pictures from the front', () => {
    const buffer = filled(pictures(0, 25), { maxBytes: 20 * BYTES });
    expect([buffer.overflows, buffer.heldMs]).toEqual([0, 560]);
    expect(buffer.drain()).toEqual(pictures(10, 25));
  });

  test('drops all of a group that does not fit, up to the next sync sample, and counts that', () => {
    const buffer = filled(pictures(0, 8), { maxBytes: 5 * BYTES });
    expect([buffer.overflows, buffer.bytes, buffer.drain()]).toEqual([1, 0, []]);
    for (const frame of pictures(8, 14)) buffer.push(frame);
    expect([buffer.overflows, buffer.drain()]).toEqual([1, pictures(10, 14)]);
  });

  test('counts the memory that is kept: small frames are taken out of large chunks', () => {
    const chunk = new Uint8Array(65_536);
    const small = picture(0, { data: chunk.subarray(1000, 1100).fill(7) });
    const large = picture(1, { data: chunk.subarray(20_000) });
    const buffer = filled([small, large]);
    expect(buffer.bytes).toBe(100 + 65_536);
    const [first, second] = buffer.drain();
    expect(first?.data.buffer.byteLength).toBe(100);
    expect(first?.data).toEqual(new Uint8Array(100).fill(7));
    expect(second?.data.buffer).toBe(chunk.buffer);
  });

  test('options that are none are refused', () => {
    for (const wrong of [{ preEventMs: -1 }, { preEventMs: Number.NaN }, { preEventMs: Infinity }, { maxBytes: 0 }]) {
      expect(() => filled([], wrong)).toThrow(RangeError);
    }
    const unknown: object = { seconds: 5 };
    expect(() => filled([], unknown)).toThrow(TypeError);
  });
});

describe('what changes while it is held', () => {
  const small: Track = { ...VIDEO, width: 320, height: 180 };

  test('tracks are those of the first held frame, and then those in force', () => {
    const changed = picture(20, { newTrack: small });
    const buffer = filled([...pictures(0, 20), changed, ...pictures(21, 30)], {}, [VIDEO, AUDIO]);
    expect(buffer.tracks).toEqual([VIDEO, AUDIO]);
    for (const frame of pictures(30, 44)) buffer.push(frame);
    expect(buffer.tracks).toEqual([VIDEO, AUDIO]);
    for (const frame of pictures(44, 46)) buffer.push(frame);
    expect(buffer.tracks).toEqual([small, AUDIO]);
    expect(buffer.drain()[0]).toBe(changed);
    expect(buffer.tracks).toEqual([small, AUDIO]);
  });

  test('a change is known also where nothing is held', () => {
    const buffer = filled([picture(0, { newTrack: small })], { preEventMs: 0 });
    expect(buffer.tracks).toEqual([small]);
  });

  test('a new run, and a DTS that goes back, drop nothing too early', () => {
    const far = pictures(1000, 1020);
    const newRun = [picture(5000, { newRun: true, utcMs: 5 }), ...pictures(5001, 5020)];
    for (const behind of [newRun, pictures(0, 20)]) {
      const buffer = filled([...far, ...behind]);
      // 760 ms before the step and 760 ms behind it: without the first 400 ms it is enough.
      expect(buffer.heldMs).toBe(1120);
      expect(buffer.drain()).toEqual([...far.slice(10), ...behind]);
    }
  });
});

/** All frames in one list; what is old is looked for from its beginning at each frame. */
class Model {
  frames: Frame[] = [];
  overflows = 0;
  readonly #options: PreEventOptions;
  readonly #leading: number;
  /** Media time of each frame that is held. */
  #atMs = new Map<Frame, number>();
  #nowMs = 0;
  #lastDts: number | undefined;

  constructor(leading: number, options: PreEventOptions) {
    this.#leading = leading;
    this.#options = options;
  }

  get bytes(): number {
    return this.frames.reduce((sum, { data }) => sum + data.byteLength, 0);
  }

  get heldMs(): number {
    const [first] = this.frames;
    return first === undefined ? 0 : this.#nowMs - (this.#atMs.get(first) ?? Number.NaN);
  }

  #starts(): number[] {
    return [...this.frames.keys()].filter((i) => this.frames[i]?.track === this.#leading && this.frames[i]?.sync);
  }

  push(frame: Frame): void {
    if (frame.track === this.#leading) {
      const step = frame.newRun === true ? 0 : frame.dts - (this.#lastDts ?? frame.dts);
      this.#nowMs += step > 0 ? step / 90 : 0;
      this.#lastDts = frame.dts;
    }
    this.#atMs.set(frame, this.#nowMs);
    const begins = frame.track === this.#leading && frame.sync;
    if (this.#options.preEventMs === 0 || (this.frames.length === 0 && !begins)) return;
    this.frames.push(frame);
    const atMs = (i: number) => this.#atMs.get(this.frames[i] ?? frame) ?? Number.NaN;
    const enough = this.#starts().findLast((i) => this.#nowMs - atMs(i) >= this.#options.preEventMs);
    this.frames.splice(0, enough ?? 0);
    while (this.bytes > this.#options.maxBytes) {
      const next = this.#starts()[1];
      if (next === undefined) this.overflows++;
      this.frames.splice(0, next);
      if (next === undefined) this.frames = [];
    }
  }
}

const step = fc.record({
  track: fc.constantFrom(0, 0, 0, 1),
  size: fc.integer({ min: 1, max: 60 }),
  /** Pictures on from the one before; sometimes back, sometimes far. */
  ahead: fc.oneof({ weight: 12, arbitrary: fc.constant(1) }, fc.integer({ min: -20, max: 300 })),
  sync: fc.nat(4).map((one) => one === 0),
  newRun: fc.nat(20).map((one) => one === 0),
  drain: fc.nat(30).map((one) => one === 0),
});

test('whatever comes, it holds what the model holds', () => {
  let overflows = 0;
  const options = fc.record({
    preEventMs: fc.integer({ min: 0, max: 1500 }),
    maxBytes: fc.integer({ min: 40, max: 900 }),
  });
  fc.assert(
    fc.property(options, fc.array(step, { maxLength: 120 }), fc.boolean(), (chosen, steps, audioFirst) => {
      const tracks = audioFirst ? [{ ...AUDIO, timescale: 90_000 }, VIDEO] : [VIDEO, AUDIO];
      const leading = audioFirst ? 1 : 0;
      const buffer = new PreEventBuffer(tracks, chosen);
      const model = new Model(leading, chosen);
      let at = 0;
      for (const { track, size, ahead, sync, newRun, drain } of steps) {
        at += ahead;
        const marks = newRun && sync && track === leading ? { newRun } : {};
        const frame: Frame = {
          track,
          data: new Uint8Array(size),
          dts: at * PICTURE_TICKS,
          compositionOffset: 0,
          sync,
          ...marks,
        };
        buffer.push(frame);
        model.push(frame);
        expect([buffer.bytes, buffer.overflows]).toEqual([model.bytes, model.overflows]);
        expect(buffer.heldMs).toBeCloseTo(model.heldMs, 6);
        if (drain) expect(buffer.drain()).toEqual(model.frames.splice(0));
      }
      expect(buffer.drain()).toEqual(model.frames);
      overflows += model.overflows;
    }),
    { numRuns: 300 },
  );
  // Or it has shown nothing of the bound.
  expect(overflows).toBeGreaterThan(0);
});
