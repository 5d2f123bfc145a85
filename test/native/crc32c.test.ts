import { describe, expect, test } from 'vitest';
import { loadAddon, twin } from '../../src/native.ts';
import { noise } from './build-records.ts';
import { LAYERS } from './layers.ts';

describe.each(LAYERS)('crc32c of the %s', (_name, native) => {
  test.each([
    ['32 bytes of zeroes', Buffer.alloc(32), 0x8a9136aa],
    ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['32 bytes incrementing', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    ['32 bytes decrementing', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
    ['the digits 1 to 9', Buffer.from('123456789'), 0xe3069283],
    ['nothing', Buffer.alloc(0), 0],
  ])('RFC 3720 B.4: %s', (_what, data, expected) => {
    expect(native.crc32c(data)).toBe(expected);
  });

  test('can be continued at any point', () => {
    const data = noise(1000, 1);
    const whole = native.crc32c(data);
    for (let cut = 0; cut <= data.length; cut += 37) {
      expect(native.crc32c(data.subarray(cut), native.crc32c(data.subarray(0, cut)))).toBe(whole);
    }
  });

  test('refuses what is not a Uint8Array or not a CRC', () => {
    expect(() => native.crc32c('text' as never)).toThrow(TypeError);
    expect(() => native.crc32c(new Uint8Array(1), -1)).toThrow(RangeError);
    expect(() => native.crc32c(new Uint8Array(1), 2 ** 32)).toThrow(RangeError);
    expect(() => native.crc32c(new Uint8Array(1), '0' as never)).toThrow(TypeError);
  });
});

test('addon and twin agree for all lengths and alignments around the block sizes', () => {
  const addon = loadAddon();
  const data = noise(3 * 4096 * 2 + 3 * 256 + 64, 2);
  const lengths = [...Array(130).keys(), 767, 768, 769, 1536, 12287, 12288, 12289, 24576, 24576 + 768 + 13];
  for (const length of lengths) {
    for (let start = 0; start < 9; start++) {
      const part = data.subarray(start, start + length);
      expect(addon.crc32c(part, length)).toBe(twin.crc32c(part, length));
    }
  }
});
