/** Which limits hold for a session, and how they hold together; real time × N on media that is a formula. */
import { describe, expect, test, vi } from 'vitest';
import { MediaTimes } from '../../src/session/media-times.ts';
import { Pacing, type PacingOptions, pacingOptions, type SessionTraits, together } from '../../src/session/pacing.ts';
import { type RateLimiter, UNLIMITED } from '../../src/session/rate.ts';
import { RecordingFirst } from '../../src/session/recording-first.ts';
import { bytesBetween, simulate } from './simulate.ts';

const traits = (rest: Partial<SessionTraits> = {}): SessionTraits => ({
  camera: 'door',
  clientAddress: '10.0.0.1',
  lengthBytes: 1e9,
  mediaMs: 0,
  mediaMsIn: () => 0,
  ...rest,
});

/** Bytes per second of a session under these limits, 10 s after its start. */
function speedOf(options: PacingOptions, rest?: Partial<SessionTraits>): number {
  const [sent] = simulate([{ limiter: new Pacing(options, undefined).limiter(traits(rest)) }], 30_000);
  return sent === undefined ? 0 : bytesBetween(sent, 10_000, 30_000) / 20;
}

const rate = (bytesPerSecond: number) => ({ bytesPerSecond, burstBytes: 0 });

function near(a: number, b: number): void {
  expect(a).toBeGreaterThan(0.9 * b);
  expect(a).toBeLessThan(1.1 * b);
}

/** Speed of one sending with a rate of its own, 10 s after its start. */
const speedAt = (own: number) => {
  const pacing = new Pacing({ session: rate(100_000), server: rate(500_000) }, undefined);
  const [sent] = simulate([{ limiter: pacing.limiter(traits(), rate(own)) }], 20_000);
  return sent === undefined ? 0 : bytesBetween(sent, 10_000, 20_000) / 10;
};

describe('limits together', () => {
  test('the slowest of them decides', () => {
    near(speedOf({ session: rate(300_000), client: rate(900_000), server: rate(500_000) }), 300_000);
    near(speedOf({ session: rate(900_000), client: rate(300_000), server: rate(500_000) }), 300_000);
    near(speedOf({ session: rate(900_000), client: rate(500_000), server: rate(300_000) }), 300_000);
    near(speedOf({ session: rate(0), client: rate(0), server: rate(200_000) }), 200_000);
  });

  test('none of them, or rates of 0, are no limit, and cost nothing', () => {
    for (const options of [{}, { session: rate(0), client: rate(0), server: rate(0) }]) {
      expect(new Pacing(options, undefined).limiter(traits())).toBe(UNLIMITED);
    }
  });

  test('what was waited for is named', () => {
    const limits = new Pacing({ session: rate(900_000), client: rate(100_000), server: rate(500_000) }, undefined);
    const limiter = limits.limiter(traits());
    limiter.spend(limiter.pieceBytes, 0);
    limiter.spend(limiter.pieceBytes, 0);
    expect(limiter.cause).toBe('clientRate');
  });

  test('all are told of every byte and of the end, whoever makes them wait', () => {
    const calls: string[] = [];
    const one = (name: string, waitMs: number, pieceBytes: number): RateLimiter => ({
      pieceBytes,
      spend: (bytes, nowMs) => (calls.push(`${name} ${bytes} ${nowMs}`), waitMs),
      end: () => void calls.push(`${name} ends`),
    });
    const both = together([one('a', 5, 100), UNLIMITED, one('b', 7, 50)]);
    expect(both.pieceBytes).toBe(50);
    expect(both.spend(50, 3)).toBe(7);
    both.end?.();
    expect(calls).toEqual(['a 50 3', 'b 50 3', 'a ends', 'b ends']);
  });

  test('all are ended, also if the end of one fails; that is not kept quiet', () => {
    const ended: string[] = [];
    const limiter = { pieceBytes: 1, spend: () => 0 };
    const both = together([
      { ...limiter, end: fails },
      { ...limiter, end: () => void ended.push('other') },
    ]);
    expect(() => both.end?.()).toThrow('on purpose');
    expect(ended).toEqual(['other']);
  });

  test('what is owed already is that of the one that lets wait longest, and is named after it', () => {
    const limits = new Pacing({ client: rate(900_000), server: rate(100_000) }, undefined);
    const one = limits.limiter(traits());
    one.spend(50_000, 0);
    const other = limits.limiter(traits());
    expect(other.owedMs?.(0)).toBeGreaterThan(500);
    expect(other.cause).toBe('serverRate');
    expect(other.owedMs?.(10_000)).toBe(0);
  });

  test('a rate of the call takes the place of that of each session, and of no other', () => {
    near(speedAt(300_000), 300_000);
    near(speedAt(900_000), 500_000);
  });
});

function fails(): never {
  throw new Error('on purpose');
}

describe('functions of the user', () => {
  const own: RateLimiter = { pieceBytes: 1000, spend: () => 10 };

  test.each(['session', 'client', 'server', 'realTime'] as const)('take the place of "%s"', (kind) => {
    const told: SessionTraits[] = [];
    const policy = (session: SessionTraits) => (told.push(session), own);
    const limiter = new Pacing({ [kind]: policy }, undefined).limiter(traits({ camera: 'yard' }));
    expect(limiter.spend(1000, 0)).toBe(10);
    expect(told).toMatchObject([{ camera: 'yard', clientAddress: '10.0.0.1', lengthBytes: 1e9 }]);
  });

  test('may give a rate instead of a limiter', () => {
    near(speedOf({ session: ({ camera }) => rate(camera === 'door' ? 300_000 : 600_000) }), 300_000);
    near(
      speedOf({ session: ({ camera }) => rate(camera === 'door' ? 300_000 : 600_000) }, { camera: 'yard' }),
      600_000,
    );
  });

  test('one that fails begins no session: nothing is left of the limits that were made before', () => {
    const ended: string[] = [];
    const session = (): RateLimiter => ({ ...own, end: () => void ended.push('session') });
    expect(() => new Pacing({ session, server: fails }, undefined).limiter(traits())).toThrow('on purpose');
    expect(ended).toEqual(['session']);
  });

  test('one alone takes the place of all but recording first', () => {
    const options = pacingOptions(() => own);
    const limiter = new Pacing(options, new RecordingFirst()).limiter(traits());
    expect(limiter.pieceBytes).toBe(1000);
    expect(limiter).not.toBe(own);
    expect(new Pacing(options, undefined).limiter(traits())).toBe(own);
  });
});

describe('real time', () => {
  /** 10 kB of header, then 60 s of media with 100 kB/s, then 60 s with 1 MB/s. */
  const media = new MediaTimes(() => [
    { byte: 10_000, ms: 0 },
    { byte: 6_010_000, ms: 60_000 },
    { byte: 66_010_000, ms: 120_000 },
  ]);
  const from = (start: number): Partial<SessionTraits> => {
    const mediaMsIn = (bytes: number) => media.between(start, start + bytes);
    const lengthBytes = 66_010_000 - start;
    return { lengthBytes, mediaMsIn, mediaMs: mediaMsIn(lengthBytes) };
  };
  const realTime = (factor: number, start: number, endMs: number, burstSeconds = 0) => {
    const limiter = new Pacing({ realTime: { factor, burstSeconds } }, undefined).limiter(traits(from(start)));
    const [sent] = simulate([{ limiter }], endMs);
    return { limiter, bytes: (fromMs: number, toMs: number) => (sent ? bytesBetween(sent, fromMs, toMs) : 0) };
  };

  test('goes by the bytes that the media itself has, second by second', () => {
    const { bytes, limiter } = realTime(1, 0, 120_000);
    expect(bytes(5000, 55_000)).toBeGreaterThan(50 * 100_000 - limiter.pieceBytes);
    expect(bytes(5000, 55_000)).toBeLessThan(50 * 100_000 + limiter.pieceBytes);
    near(bytes(70_000, 115_000), 45 * 1_000_000);
  });

  test('times N, and from the middle of the answer as well', () => {
    near(realTime(4, 6_010_000, 12_000).bytes(2000, 12_000), 10 * 4 * 1_000_000);
    near(realTime(2, 1_000_000, 20_000, 0).bytes(2000, 20_000) / 18, 200_000);
  });

  test('the first seconds go at once, and the header besides', () => {
    const { bytes, limiter } = realTime(1, 0, 1000, 10);
    expect(bytes(0, 1)).toBeGreaterThanOrEqual(10_000 + 10 * 100_000);
    expect(bytes(0, 1)).toBeLessThanOrEqual(10_000 + 10 * 100_000 + limiter.pieceBytes);
  });

  test('what has no media time is not paced: playlists, a range inside the header', () => {
    const pacing = new Pacing({ realTime: { factor: 1 } }, undefined);
    expect(pacing.limiter(traits())).toBe(UNLIMITED);
    expect(media.between(0, 10_000)).toBe(0);
  });
});

test('marks that go back, in bytes or in time, are left out', () => {
  const media = new MediaTimes(() => [
    { byte: 0, ms: 0 },
    { byte: 100, ms: 10 },
    { byte: 50, ms: 20 },
    { byte: 200, ms: 5 },
    { byte: 300, ms: 30 },
  ]);
  expect(media.between(0, 100)).toBe(10);
  expect(media.between(100, 300)).toBe(20);
  expect(media.between(0, 1000)).toBe(30);
  expect(MediaTimes.none.between(0, 1000)).toBe(0);
});

test('media times are worked out once, and only for a policy that asks', () => {
  const marks = vi.fn(() => [
    { byte: 0, ms: 0 },
    { byte: 100, ms: 10 },
  ]);
  const media = new MediaTimes(marks);
  const mediaMsIn = (bytes: number) => media.between(0, bytes);
  const paced = (options: PacingOptions) =>
    new Pacing(options, undefined).limiter({
      ...{ camera: 'door', clientAddress: '', lengthBytes: 100, mediaMsIn },
      get mediaMs() {
        return mediaMsIn(100);
      },
    });
  paced({ session: { bytesPerSecond: 1000 }, client: { bytesPerSecond: 1000 }, server: { bytesPerSecond: 1000 } });
  expect(marks).not.toHaveBeenCalled();
  paced({ realTime: { factor: 1 } }).spend(100, 0);
  expect(marks).toHaveBeenCalledOnce();
});

test.each([
  [{ realTime: { factor: 0 } }, RangeError],
  [{ realTime: { factor: 1, burstSeconds: -1 } }, RangeError],
  [{ session: { bytesPerSecond: -1 } }, RangeError],
  [{ client: { bytesPerSecond: Number.NaN } }, RangeError],
  [{ server: { bytesPerSecond: 1, burstBytes: Infinity } }, RangeError],
  [{ realTime: { factor: 1, burst: 3 } as { factor: number } }, TypeError],
  [{ sessions: { bytesPerSecond: 1 } } as PacingOptions, TypeError],
] as const)('%o is refused when the archive is opened', (options, kind) => {
  expect(() => new Pacing(pacingOptions(options), undefined)).toThrow(kind);
});
